import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { productOperations } from '../../../src/engine/graph/arithmetic';
import { dropUnused, optimize } from '../../../src/engine/graph/passes';
import { trace } from '../../../src/engine/graph/trace';
import { findMethod, parseMethodOptions } from '../../../src/peft/registry';
import { frozenTensors, initialState, prepareModel } from '../../../src/train/model';
import { evaluationProgram, trainingProgram } from '../../../src/train/program';
import { tinyArchitecture, tinyBackbone } from '../../fixtures/tiny-vit';

it('counts the products of a forward pass and of a full training step', async () => {
  const architecture = tinyArchitecture;
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

describe('the last block\'s MLP is computed for the class tokens alone, forwards and backwards', () => {
  const architecture = { ...tinyArchitecture, depth: 4 }, batch = 3;
  for (const method of ['bitfit', 'lora', 'repadapter', 'vpt-shallow', 'vpt-deep', 'kv-prefix']) it(method, async () => {
    const model = await prepareModel({ architecture, method: findMethod(method), options: parseMethodOptions(method, {}), classes: 4, batch, dropPath: 0, dropout: false });
    const base = tinyBackbone(architecture);
    const { nodes } = optimize(await trace({ program: trainingProgram(model), state: initialState(model, { base, seed: 1 }), constants: frozenTensors(model, base) }));
    const hiddenRows = nodes.filter(({ kernel, inputs }) => ['BatchMatMul', 'MatMulAdd'].includes(kernel) && inputs[1]!.source?.kind === 'constant')
      .flatMap(({ outputs: [output] }) => (output!.shape.length === 2 && output!.shape[1] === architecture.hidden ? [output!.shape[0]!] : []));
    assert.equal(hiddenRows.filter(rows => rows === batch).length, 2, hiddenRows.join());
    assert.equal(hiddenRows.filter(rows => rows > batch).length, 2 * (architecture.depth - 1), hiddenRows.join());
  });
});
