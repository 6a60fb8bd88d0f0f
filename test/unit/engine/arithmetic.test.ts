import assert from 'node:assert/strict';
import { it } from 'node:test';
import { productOperations } from '../../../src/engine/graph/arithmetic';
import { dropUnused } from '../../../src/engine/graph/passes';
import { trace } from '../../../src/engine/graph/trace';
import { findMethod } from '../../../src/peft/registry';
import { frozenTensors, initialState, prepareModel } from '../../../src/train/model';
import { evaluationProgram, trainingProgram } from '../../../src/train/program';
import { tinyArchitecture as architecture, tinyBackbone } from '../../fixtures/tiny-vit';

it('counts the products of a forward pass and of a full training step', async () => {
  const { width, hidden, depth, imageSize, patch } = architecture;
  const batch = 3, classes = 4, tokens = (imageSize / patch) ** 2 + 1;
  const model = await prepareModel({ architecture, method: findMethod('full'), options: {}, classes, batch, dropPath: 0, dropout: false });
  const base = tinyBackbone();
  const count = async (program: ReturnType<typeof trainingProgram>) =>
    productOperations(dropUnused(await trace({ program, state: initialState(model, { base, seed: 1 }), constants: frozenTensors(model, base) })));
  const blocks = depth * (2 * tokens * (4 * width ** 2 + 2 * width * hidden) + 4 * tokens ** 2 * width);
  const embedding = 2 * (tokens - 1) * 3 * patch ** 2 * width, head = 2 * width * classes;
  assert.equal(await count(evaluationProgram(model)), batch * (blocks + embedding + head));
  // Backwards each product is two, and the embedding's one: nobody asks for the gradient of the pixels.
  assert.equal(await count(trainingProgram(model)), batch * (3 * blocks + 2 * embedding + 3 * head));
});
