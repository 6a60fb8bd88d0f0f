"""Writes test/fixtures/goldens: what PyTorch makes of every method on a small ViT. Needs torch, timm, peft and safetensors.

    python tools/goldens.py [name ...]

Each method is written out here once more, plainly and from the papers' equations, with images first and tokens second, as
PyTorch code usually is. Nothing is shared with the extension but the tensors' names. The backbone is checked against timm,
and LoRA, DoRA and (IA)^3 against Hugging Face's PEFT, before anything is written.

A file holds, for one method with its options (in the metadata), computed in double precision from float32 values:
    init.<tensor>     random values of everything that the method trains, head included (fixed.<tensor>: what belongs to it and does not train)
    logits, loss      with them; mean cross entropy over the batch
    grad.<tensor>     of that loss
    loss_steps        before each of three full-batch steps of AdamW (lr 1e-3, betas .9 .999, eps 1e-8, weight decay 0.01)
    train3.<tensor>   after them
The seed of each is the first for which float32 gives the same within a fifth of what the tests allow: no kink of a ReLU and
no sign flip of Adam lies between the two.
"""
import functools
import json
import math
import pathlib
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

FOLDER = pathlib.Path(__file__).parent.parent / 'test/fixtures/goldens'
BATCH, CLASSES = 6, 4
PLAIN = dict(imageSize=32, patch=8, width=16, depth=2, heads=2, hidden=64, layerNormEpsilon=1e-6, activation='gelu',
             preNorm=False, patchBias=True, layerScale=False, qkvBias=True)
# What CLIP's and DINOv2's ViTs have and the usual one has not.
PECULIAR = dict(PLAIN, layerNormEpsilon=1e-5, activation='quick-gelu', preNorm=True, patchBias=False, layerScale=True, hidden=48)


def generator(seed):
    return torch.Generator().manual_seed(seed)


def draw(shape, std, g, mean=0.0):
    """Float32 values held in double precision."""
    return (torch.randn(shape, generator=g, dtype=torch.float64) * std + mean).float().double()


def base_shapes(c):
    d, h = c['width'], c['hidden']
    shapes = {'cls_token': (1, 1, d), 'pos_embed': (1, (c['imageSize'] // c['patch']) ** 2 + 1, d),
              'patch_embed.proj.weight': (d, 3, c['patch'], c['patch'])}
    if c['patchBias']:
        shapes['patch_embed.proj.bias'] = (d,)
    if c['preNorm']:
        shapes.update({'norm_pre.weight': (d,), 'norm_pre.bias': (d,)})
    for i in range(c['depth']):
        b = f'blocks.{i}.'
        for name, shape in {'norm1': (d,), 'attn.qkv': (3 * d, d), 'attn.proj': (d, d), 'norm2': (d,), 'mlp.fc1': (h, d), 'mlp.fc2': (d, h)}.items():
            shapes[f'{b}{name}.weight'] = shape
            shapes[f'{b}{name}.bias'] = shape[:1]
        if c['layerScale']:
            shapes.update({f'{b}ls1.gamma': (d,), f'{b}ls2.gamma': (d,)})
    shapes.update({'norm.weight': (d,), 'norm.bias': (d,)})
    return shapes


def base_tensors(c, seed=1):
    g = generator(seed)
    scales = ('norm', 'norm1', 'norm2', 'norm_pre')
    def tensor(name, shape):
        if name.endswith('gamma') or name.endswith('weight') and name.split('.')[-2] in scales:
            return draw(shape, 0.1, g, 1.0)
        return draw(shape, 0.3 if len(shape) > 1 else 0.1, g)
    return {name: tensor(name, shape) for name, shape in base_shapes(c).items()}


def batch(c, seed=2):
    g = generator(seed)
    return draw((BATCH, 3, c['imageSize'], c['imageSize']), 0.5, g), torch.arange(BATCH) % CLASSES


class ViT:
    """The frozen backbone; methods override what they change. p: base tensors and head, t: the method's own, o: its options."""

    def __init__(self, c, p, t, o):
        self.c, self.p, self.t, self.o = c, p, t, o
        self.D, self.H, self.L, self.N = c['width'], c['heads'], c['depth'], (c['imageSize'] // c['patch']) ** 2 + 1
        self.G = c['imageSize'] // c['patch']

    @staticmethod
    def tensors(c, o):
        """name -> shape, or (shape, std) or (shape, std, mean) of the random values."""
        return {}

    def linear(self, x, path):
        return F.linear(x, self.p[path + '.weight'], self.p.get(path + '.bias'))

    def norm(self, x, path):
        return F.layer_norm(x, (self.D,), self.p[path + '.weight'], self.p[path + '.bias'], self.c['layerNormEpsilon'])

    def act(self, x):
        return F.gelu(x) if self.c['activation'] == 'gelu' else x * torch.sigmoid(1.702 * x)

    def patches(self, images):
        x = F.conv2d(images, self.p['patch_embed.proj.weight'], self.p.get('patch_embed.proj.bias'), stride=self.c['patch'])
        return x.flatten(2).transpose(1, 2)

    def embed(self, images):
        x = self.patches(images)
        x = torch.cat([self.p['cls_token'].expand(len(x), -1, -1), x], 1) + self.p['pos_embed']
        return self.norm(x, 'norm_pre') if self.c['preNorm'] else x

    def qkv(self, i, x):
        return self.linear(x, f'blocks.{i}.attn.qkv')

    def heads(self, x):
        return x.reshape(len(x), -1, self.H, self.D // self.H).transpose(1, 2)

    def scores(self, i, q, k):
        return q @ k.transpose(-2, -1) / math.sqrt(self.D // self.H)

    def keys_values(self, i, k, v):
        return k, v

    def attend(self, i, x):
        q, k, v = self.qkv(i, x).chunk(3, -1)
        k, v = self.keys_values(i, k, v)
        q, k, v = self.heads(q), self.heads(k), self.heads(v)
        return (self.scores(i, q, k).softmax(-1) @ v).transpose(1, 2).flatten(2)

    def msa(self, i, x):
        return self.linear(self.attend(i, x), f'blocks.{i}.attn.proj')

    def mlp(self, i, x):
        return self.linear(self.act(self.linear(x, f'blocks.{i}.mlp.fc1')), f'blocks.{i}.mlp.fc2')

    def ls(self, i, which, x):
        return x * self.p[f'blocks.{i}.ls{which}.gamma'] if self.c['layerScale'] else x

    def sublayer(self, i, which, x):
        """What attention (1) or MLP (2) adds to the stream."""
        f = self.msa if which == 1 else self.mlp
        return self.ls(i, which, f(i, self.norm(x, f'blocks.{i}.norm{which}')))

    def block(self, i, x):
        x = x + self.sublayer(i, 1, x)
        return x + self.sublayer(i, 2, x)

    def blocks(self, x):
        self.outputs = []
        for i in range(self.L):
            x = self.block(i, x)
            self.outputs.append(x)
        return x

    def features(self, x):
        return self.norm(x[:, 0], 'norm')

    def forward(self, images):
        return F.linear(self.features(self.blocks(self.embed(images))), self.p['head.weight'], self.p['head.bias'])


def base_of(*endings, exact=()):
    """Base tensors that train."""
    return lambda c, o: [n for n in base_shapes(c) if n in exact or any(n.endswith(e) for e in endings)]


def norms(c):
    return [n for n in base_shapes(c) if 'norm' in n]


# ---- heads, selections -------------------------------------------------------------------------------------------------

class Linear(ViT):
    def features(self, x):
        layer, pool = self.o.get('layer'), self.o.get('pool', 'class')
        x = x if layer is None else self.outputs[layer - 1]
        return self.norm(x[:, 0] if pool == 'class' else x[:, 1:].mean(1), 'norm')


class DiffFit(ViT):
    @staticmethod
    def tensors(c, o):
        return {f'blocks.{i}.difffit_gamma{k}': ((c['width'],), 0.1, 1.0) for i in range(c['depth']) for k in (1, 2)}

    def sublayer(self, i, which, x):
        return self.t[f'blocks.{i}.difffit_gamma{which}'] * super().sublayer(i, which, x)


# ---- scale and shift ---------------------------------------------------------------------------------------------------

class SSF(ViT):
    NAMES = {'norm1': ('{b}ssf_{k}_1', 1), 'norm2': ('{b}ssf_{k}_2', 1), 'attn.qkv': ('{b}attn.ssf_{k}_qkv', 3),
             'attn.proj': ('{b}attn.ssf_{k}_linear', 1), 'mlp.fc1': ('{b}mlp.ssf_{k}_hidden', None), 'mlp.fc2': ('{b}mlp.ssf_{k}_out', 1)}

    @classmethod
    def tensors(cls, c, o):
        d = c['width']
        sizes = {'patch_embed.ssf_{k}_1': d, 'ssf_{k}': d}
        for i in range(c['depth']):
            for name, m in cls.NAMES.values():
                sizes[name.replace('{b}', f'blocks.{i}.')] = c['hidden'] if m is None else m * d
        return {n.format(k=k): ((s,), 0.1, mean) for n, s in sizes.items() for k, mean in (('scale', 1.0), ('shift', 0.0))}

    def change(self, y, name):
        return y * self.t[name.format(k='scale')] + self.t[name.format(k='shift')]

    def named(self, path):
        if not path.startswith('blocks.'):
            return {'norm': 'ssf_{k}'}.get(path)
        _, i, rest = path.split('.', 2)
        return self.NAMES[rest][0].replace('{b}', f'blocks.{i}.')

    def linear(self, x, path):
        return self.change(super().linear(x, path), self.named(path))

    def norm(self, x, path):
        y = super().norm(x, path)
        return self.change(y, self.named(path)) if self.named(path) else y

    def patches(self, images):
        return self.change(super().patches(images), 'patch_embed.ssf_{k}_1')


class IA3(ViT):
    """l after the bias on outputs; on the input of feed-forward targets."""

    @staticmethod
    def tensors(c, o):
        d, h = c['width'], c['hidden']
        size = {'q': d, 'k': d, 'v': d, 'proj': d, 'fc1': d if 'fc1' in o['feedforward'] else h, 'fc2': h if 'fc2' in o['feedforward'] else d}
        return {f'blocks.{i}.ia3.{t}': ((size[t],), 0.2, 1.0) for i in range(c['depth']) for t in o['targets']}

    def qkv(self, i, x):
        one = torch.ones(self.D, dtype=x.dtype)
        return super().qkv(i, x) * torch.cat([self.t.get(f'blocks.{i}.ia3.{t}', one) for t in 'qkv'])

    def linear(self, x, path):
        target = path.split('.')[-1]
        if target == 'qkv' or target not in self.o['targets']:
            return super().linear(x, path)
        l = self.t[f'blocks.{path.split(".")[1]}.ia3.{target}']
        return super().linear(x * l, path) if target in self.o['feedforward'] else super().linear(x, path) * l


class AttnScale(ViT):
    @staticmethod
    def tensors(c, o):
        n = (c['imageSize'] // c['patch']) ** 2 + 1
        shape = {'per-head': (c['heads'], n, n), 'shared': (1, n, n), 'scalar': (c['heads'],)}[o['granularity']]
        return {f'blocks.{i}.attn.attnscale': (shape, 0.3, 1.0) for i in range(c['depth'])}

    def scores(self, i, q, k):
        s = self.t[f'blocks.{i}.attn.attnscale']
        return super().scores(i, q, k) * (s[:, None, None] if s.dim() == 1 else s)


class DRA(ViT):
    @staticmethod
    def tensors(c, o):
        return {f'blocks.{i}.dra.{b}': (c['width'],) for i in range(c['depth']) for b in ('attention', 'mlp')}

    def msa(self, i, x):
        return super().msa(i, x) + self.t[f'blocks.{i}.dra.attention']

    def mlp(self, i, x):
        return super().mlp(i, x) + self.t[f'blocks.{i}.dra.mlp']


# ---- prompts -----------------------------------------------------------------------------------------------------------

class VPTDeep(ViT):
    @staticmethod
    def tensors(c, o):
        return {'vpt.prompt_embeddings': ((c['depth'], o['prompts'], c['width']), 0.3)}

    def block(self, i, x):
        p = self.t['vpt.prompt_embeddings']
        if i >= len(p):
            return super().block(i, x)
        return super().block(i, torch.cat([p[i].expand(len(x), -1, -1), x], 1))[:, p.shape[1]:]


class VPTShallow(VPTDeep):
    """study: as VPT-Deep, for the first block alone. original: prompts stay, behind the class token."""

    @staticmethod
    def tensors(c, o):
        return {'vpt.prompt_embeddings': ((1, o['prompts'], c['width']), 0.3)}

    def embed(self, images):
        x = super().embed(images)
        if self.o['variant'] == 'study':
            return x
        return torch.cat([x[:, :1], self.t['vpt.prompt_embeddings'].expand(len(x), -1, -1), x[:, 1:]], 1)

    def block(self, i, x):
        return super().block(i, x) if self.o['variant'] == 'study' else ViT.block(self, i, x)


class VQT(ViT):
    """Queries in front that attend and are not attended to; their outputs, of length 1, are summed with weights."""

    @staticmethod
    def tensors(c, o):
        return {'vqt.query_prompt_embeddings': ((c['depth'], o['prompts'], c['width']), 0.3),
                'vqt.combine_layer.weight': ((1, c['depth'] * o['prompts'] + 1), 0.3, 1.0)}

    def keys_values(self, i, k, v):
        return k[:, self.o['prompts']:], v[:, self.o['prompts']:]

    def block(self, i, x):
        n = self.o['prompts']
        y = super().block(i, torch.cat([self.t['vqt.query_prompt_embeddings'][i].expand(len(x), -1, -1), x], 1))
        self.collected = [] if i == 0 else self.collected
        self.collected.append(y[:, :n])
        return y[:, n:]

    def features(self, x):
        every = torch.cat([*self.collected, super().features(x)[:, None]], 1)
        return torch.einsum('n,bnd->bd', self.t['vqt.combine_layer.weight'][0], F.normalize(every, dim=-1))


class KVPrefix(ViT):
    @staticmethod
    def tensors(c, o):
        L, n, d, h = c['depth'], o['prompts'], c['width'], o.get('reparametrization')
        if h is None:
            return {f'kv_prefix.{k}': ((L, n, d), 0.3) for k in ('key', 'value')}
        return {'kv_prefix.embedding': ((n, d), 1.0), 'kv_prefix.mlp.0.weight': (h, d), 'kv_prefix.mlp.0.bias': (h,),
                'kv_prefix.mlp.2.weight': (2 * L * d, h), 'kv_prefix.mlp.2.bias': (2 * L * d,)}

    def prefixes(self, i):
        t, d = self.t, self.D
        if 'kv_prefix.key' in t:
            return t['kv_prefix.key'][i], t['kv_prefix.value'][i]
        hidden = torch.tanh(F.linear(t['kv_prefix.embedding'], t['kv_prefix.mlp.0.weight'], t['kv_prefix.mlp.0.bias']))
        out = F.linear(hidden, t['kv_prefix.mlp.2.weight'], t['kv_prefix.mlp.2.bias']).reshape(-1, self.L, 2, d)
        return out[:, i, 0], out[:, i, 1]

    def keys_values(self, i, k, v):
        pk, pv = self.prefixes(i)
        return torch.cat([pk.expand(len(k), -1, -1), k], 1), torch.cat([pv.expand(len(v), -1, -1), v], 1)


class APT(ViT):
    """x' = e^s (x + w * E), E = ReLU(h K^T) P, K = P + (P W1^T) W2^T, w = the largest of a column, held constant."""

    @staticmethod
    def tensors(c, o):
        d, m, r = c['width'], o['prompts'], o['rank']
        return {f'blocks.{i}.apt.{k}': v for i in range(c['depth'])
                for k, v in {'prompts': ((m, d), 0.3), 'down': ((r, d), 0.3), 'up': ((d, r), 0.3), 'scale': ((1,), 0.2)}.items()}

    def msa(self, i, h):
        P, W1, W2, s = (self.t[f'blocks.{i}.apt.{k}'] for k in ('prompts', 'down', 'up', 'scale'))
        K = P + P @ W1.T @ W2.T
        A = torch.relu(h @ K.T)
        w = A.amax(-1, keepdim=True).detach()
        return torch.exp(s) * (super().msa(i, h) + w * (A @ P))


# ---- representations ---------------------------------------------------------------------------------------------------

def orthonormal(M):
    """Rows of M by Gram and Schmidt: those of Q in the QR decomposition of its transpose, signs as in M."""
    Q, R = torch.linalg.qr(M.T)
    return (Q * R.diagonal().sign()).T


class LoReFT(ViT):
    """h + R^T (W h + b - R h) behind every block, for chosen tokens."""

    NAME = 'loreft'

    @classmethod
    def tensors(cls, c, o):
        d, r = c['width'], o['rank']
        blocks = range(c['depth']) if o.get('blocks') is None else [b % c['depth'] for b in o['blocks']]
        def groups(i):
            """Behind the last block nothing reads the patches."""
            is_last = i == c['depth'] - 1
            if o['tied']:
                return [] if is_last and o['positions'] == 'patches' else ['']
            return ['.class'] if is_last else ['.class', '.patches']
        return {f'blocks.{i}.{cls.NAME}{g}.{n}': s for i in blocks for g in groups(i) for n, s in
                {cls.MATRIX: (r, d), 'source.weight': (r, d), 'source.bias': (r,)}.items()}

    MATRIX = 'rotation'

    def change(self, h, path):
        R = orthonormal(self.t[path + '.rotation'])
        return F.linear(h, self.t[path + '.source.weight'], self.t[path + '.source.bias']) @ R - F.linear(h, R) @ R

    def block(self, i, x):
        x = super().block(i, x)
        path = f'blocks.{i}.{self.NAME}'
        edited = {'class': [0], 'patches': range(1, self.N), 'all': range(self.N), 'class+first': range(1 + self.o.get('patches', 0))}[self.o['positions']]
        tokens = []
        for n in range(self.N):
            own = path if self.o['tied'] else path + ('.class' if n == 0 else '.patches')
            is_edited = n in edited and any(k.startswith(own + '.') for k in self.t)
            tokens.append(x[:, n] + self.change(x[:, n], own) if is_edited else x[:, n])
        return torch.stack(tokens, 1)


class DiReFT(LoReFT):
    NAME, MATRIX = 'direft', 'projection'

    def change(self, h, path):
        P = self.t[path + '.projection']
        return F.linear(h, self.t[path + '.source.weight'], self.t[path + '.source.bias']) @ (orthonormal(P) if self.o.get('orthonormal') else P)


# ---- adapters ----------------------------------------------------------------------------------------------------------

class Adapter(ViT):
    """D(x) = s (W_up f(W_down x + b_down) + b_up), in the place that the options say."""

    DEFAULT = dict(branches=['mlp'], position='after', input='residual', bottleneck=4, scale=1.0, learnableScale=False, activation='relu', dropPath='once')
    MODULE = {1: 'ft_attn_module', 2: 'ft_mlp_module'}

    @classmethod
    def form(cls, o):
        return {**cls.DEFAULT, **o}

    @classmethod
    def tensors(cls, c, o):
        f, d = cls.form(o), c['width']
        r = f['bottleneck']
        shapes = {'down_proj.weight': (r, d), 'down_proj.bias': (r,), 'up_proj.weight': (d, r), 'up_proj.bias': (d,)}
        if f['learnableScale']:
            shapes['scale'] = ((1,), 0.1, 1.0)
        return {f'blocks.{i}.{cls.MODULE[w]}.{n}': s for i in range(c['depth']) for w in (1, 2)
                if ('attention', 'mlp')[w - 1] in f['branches'] for n, s in shapes.items()}

    def delta(self, i, which, x):
        f, m = self.form(self.o), f'blocks.{i}.{self.MODULE[which]}.'
        low = F.linear(x, self.t[m + 'down_proj.weight'], self.t[m + 'down_proj.bias'])
        low = torch.relu(low) if f['activation'] == 'relu' else F.gelu(low)
        s = self.t[m + 'scale'] if f['learnableScale'] else f['scale']
        return s * F.linear(low, self.t[m + 'up_proj.weight'], self.t[m + 'up_proj.bias'])

    def sublayer(self, i, which, h):
        f = self.form(self.o)
        if ('attention', 'mlp')[which - 1] not in f['branches']:
            return super().sublayer(i, which, h)
        layer = self.msa if which == 1 else self.mlp
        x = self.norm(h, f'blocks.{i}.norm{which}')
        ls = lambda y: self.ls(i, which, y)
        twice = f['dropPath'] == 'twice'
        if f['position'] == 'before':
            return ls(layer(i, x + self.delta(i, which, x)))
        if f['position'] == 'parallel':
            own = self.delta(i, which, h if f['input'] == 'residual' else x)
            return ls(layer(i, x)) + (ls(own) if twice else own)
        y = ls(layer(i, x)) if twice else layer(i, x)
        return ls(y + self.delta(i, which, y))


class Pfeiffer(Adapter):
    @classmethod
    def form(cls, o):
        return {**cls.DEFAULT, 'dropPath': 'twice' if o['variant'] == 'study' else 'once', **o}


class Houlsby(Adapter):
    @classmethod
    def form(cls, o):
        study = o['variant'] == 'study'
        return {**cls.DEFAULT, 'branches': ['attention', 'mlp'], 'dropPath': 'twice' if study else 'once', 'activation': 'relu' if study else 'gelu', **o}


class AdaptFormer(Adapter):
    @classmethod
    def form(cls, o):
        return {**cls.DEFAULT, 'position': 'parallel', 'dropPath': 'twice' if o['variant'] == 'study' else 'once', **o}


class RepAdapter(ViT):
    @staticmethod
    def tensors(c, o):
        d, r, g = c['width'], o['bottleneck'], o['groups']
        shapes = {'conv_A.weight': (r, d, 1), 'conv_A.bias': (r,), 'conv_B.weight': (d, r // g, 1), 'conv_B.bias': (d,)}
        return {f'blocks.{i}.{m}.{n}': s for i in range(c['depth']) for m in ('ft_attn_module', 'ft_mlp_module') for n, s in shapes.items()}

    def adapt(self, x, m):
        t = lambda n: self.t[f'{m}.{n}']
        y = F.conv1d(x.transpose(1, 2), t('conv_A.weight'), t('conv_A.bias'))
        y = F.conv1d(y, t('conv_B.weight'), t('conv_B.bias'), groups=self.o['groups'])
        return x + self.o['scale'] * y.transpose(1, 2)

    def msa(self, i, x):
        return super().msa(i, self.adapt(x, f'blocks.{i}.ft_attn_module'))

    def mlp(self, i, x):
        return super().mlp(i, self.adapt(x, f'blocks.{i}.ft_mlp_module'))


class Convpass(ViT):
    @staticmethod
    def tensors(c, o):
        d, r = c['width'], o['bottleneck']
        shapes = {'adapter_down.weight': (r, d), 'adapter_down.bias': (r,), 'adapter_conv.weight': (r, r, 3, 3), 'adapter_conv.bias': (r,),
                  'adapter_up.weight': (d, r), 'adapter_up.bias': (d,)}
        return {f'blocks.{i}.{m}.{n}': s for i in range(c['depth']) for m in ('ft_attn_module', 'ft_mlp_module') for n, s in shapes.items()}

    def bypass(self, x, m):
        t = lambda n: self.t[f'{m}.{n}']
        q = lambda z: z * torch.sigmoid(1.702 * z)
        conv = lambda z: F.conv2d(z, t('adapter_conv.weight'), t('adapter_conv.bias'), padding=1)
        low = q(F.linear(x, t('adapter_down.weight'), t('adapter_down.bias')))
        grid = low[:, 1:].transpose(1, 2).reshape(len(x), -1, self.G, self.G)
        patches = conv(grid).flatten(2).transpose(1, 2)
        cls = conv(low[:, 0, :, None, None])[:, None, :, 0, 0]
        return self.o['scale'] * F.linear(q(torch.cat([cls, patches], 1)), t('adapter_up.weight'), t('adapter_up.bias'))

    def sublayer(self, i, which, h):
        x = self.norm(h, f'blocks.{i}.norm{which}')
        m = f'blocks.{i}.' + ('ft_attn_module', 'ft_mlp_module')[which - 1]
        return super().sublayer(i, which, h) + self.ls(i, which, self.bypass(x, m))


# ---- low rank ----------------------------------------------------------------------------------------------------------

class LoRA(ViT):
    """Every adapted layer's weight is W + dW; dW is made for each whole layer, zero for thirds of qkv that are no target."""

    NAME = 'lora'

    @classmethod
    def pairs(cls, c, o):
        """site path -> list of (tensor prefix, rows of B, first row in the layer) or None."""
        d, h, p = c['width'], c['hidden'], c['patch']
        targets = o['targets']
        sites = {}
        if 'patch_embed' in targets:
            sites['patch_embed.proj'] = [(f'patch_embed.proj.{cls.NAME}.lora_{{}}.weight', 3 * p * p, d, ['all'])]
        for i in range(c['depth']):
            if o.get('blocks') is not None and i not in [b % c['depth'] for b in o['blocks']]:
                continue
            thirds = [t for t in 'qkv' if t in targets]
            path = f'blocks.{i}.attn.{cls.NAME}.lora_{{}}'
            if thirds and o['sharing'] == 'fused':
                sites[f'blocks.{i}.attn.qkv'] = [(path + '.weight', d, len(thirds) * d, thirds)]
            elif thirds:
                sites[f'blocks.{i}.attn.qkv'] = [(f'{path}_{t}.weight', d, d, [t]) for t in thirds]
            for t, site, inputs, outputs in (('proj', 'attn.proj', d, d), ('fc1', 'mlp.fc1', d, h), ('fc2', 'mlp.fc2', h, d)):
                if t in targets:
                    sites[f'blocks.{i}.{site}'] = [(f'blocks.{i}.{site}.{cls.NAME}.lora_{{}}.weight', inputs, outputs, ['all'])]
        return sites

    @classmethod
    def tensors(cls, c, o):
        return {n: s for pairs in cls.pairs(c, o).values() for name, inputs, outputs, _ in pairs
                for n, s in ((name.format('a'), (o['rank'], inputs)), (name.format('b'), (outputs, o['rank'])))}

    def update(self, path):
        o, rows = self.o, {}
        alpha, r = o.get('alpha'), o['rank']
        s = 1 if alpha is None else alpha / (math.sqrt(r) if o.get('rankStabilized') else r)
        for name, _, _, parts in self.pairs(self.c, o).get(path, []):
            BA = self.t[name.format('b')] @ self.t[name.format('a')]
            rows.update(zip(parts, (s * BA).chunk(len(parts), 0)))
        if not rows:
            return None
        if 'all' in rows:
            return rows['all']
        return torch.cat([rows.get(t, torch.zeros(self.D, self.D, dtype=BA.dtype)) for t in 'qkv'])

    def weight(self, path):
        dW = self.update(path)
        W = self.p[path + '.weight']
        return W if dW is None else W + dW.reshape(W.shape)

    def linear(self, x, path):
        return F.linear(x, self.weight(path), self.p.get(path + '.bias'))

    def patches(self, images):
        x = F.conv2d(images, self.weight('patch_embed.proj'), self.p.get('patch_embed.proj.bias'), stride=self.c['patch'])
        return x.flatten(2).transpose(1, 2)


class DoRA(LoRA):
    NAME = 'dora'

    @staticmethod
    def magnitude(path):
        return path.replace('.qkv', '') + '.dora.magnitude'

    @classmethod
    def tensors(cls, c, o):
        """Magnitudes are near the norms of the base weights."""
        own = super().tensors(c, o)
        for path, pairs in cls.pairs(c, o).items():
            own[cls.magnitude(path)] = ((sum(outputs for _, _, outputs, _ in pairs),), 0.2, 1.2)
        return own

    def weight(self, path):
        W = super().weight(path)
        if self.magnitude(path) not in self.t:
            return W
        rows = W.flatten(1)
        norm = rows.norm(dim=1).detach()
        parts = [p for _, _, _, parts in self.pairs(self.c, self.o)[path] for p in parts]
        gain = self.t[self.magnitude(path)]
        if parts != ['all']:
            own = dict(zip(parts, gain.chunk(len(parts))))
            gain = torch.cat([own.get(t, norm[k * self.D:(k + 1) * self.D]) for k, t in enumerate('qkv')])
        return (rows * (gain / norm)[:, None]).reshape(W.shape)


class SIFT(ViT):
    """W' = W + S(d): d at the elements of each weight whose gradient of the whole batch's loss is largest before training."""

    NO_DECAY = True

    @staticmethod
    def parts(c, o):
        """path -> [(start, length)] in the flat weight: q, k and v choose each for itself."""
        d, h = c['width'], c['hidden']
        found = {}
        for i in range(c['depth']):
            sites = {'attn.qkv': [(t * d * d, d * d) for t, name in enumerate('qkv') if name in o['targets']],
                     'attn.proj': [(0, d * d)] * ('proj' in o['targets']),
                     'mlp.fc1': [(0, h * d)] * ('fc1' in o['targets']), 'mlp.fc2': [(0, h * d)] * ('fc2' in o['targets'])}
            found.update({f'blocks.{i}.{site}': parts for site, parts in sites.items() if parts})
        return found

    @staticmethod
    def chosen(length, o):
        return min(math.floor(o['rate'] * length) + 1, length)

    @classmethod
    def tensors(cls, c, o):
        return {f'{path}.sift.values': ((sum(cls.chosen(n, o) for _, n in parts),), 0.3) for path, parts in cls.parts(c, o).items()}

    @classmethod
    def fixed(cls, c, o, p):
        """Indices, from the gradients of the backbone with its head."""
        values = {n: v.clone().requires_grad_() for n, v in p.items()}
        images, labels = batch(c)
        F.cross_entropy(ViT(c, values, {}, {}).forward(images), labels).backward()
        def indices(path, parts):
            scores = (values if o['selection'] == 'weight' else {n: v.grad for n, v in values.items()})[path + '.weight'].detach().abs().flatten()
            return torch.cat([start + scores[start:start + n].topk(cls.chosen(n, o)).indices.sort().values for start, n in parts])
        return {f'{path}.sift.indices': indices(path, parts).double() for path, parts in cls.parts(c, o).items()}

    def linear(self, x, path):
        W = self.p[path + '.weight']
        if f'{path}.sift.values' in self.t:
            at = self.t[f'{path}.sift.indices'].long()
            W = W.flatten().index_add(0, at, self.t[f'{path}.sift.values']).reshape(W.shape)
        return F.linear(x, W, self.p.get(path + '.bias'))


class FacT(ViT):
    """dW = s V S U, each weight cut into D x D matrices. core(i, name) gives the S of a weight's matrices, as linear weights."""

    F_ = 'blocks.0.attn.fact.'

    @staticmethod
    def core_std():
        return 0.4

    def square(self, S):
        return self.o['scale'] * self.t[self.F_ + 'FacTv.weight'] @ S @ self.t[self.F_ + 'FacTu.weight']

    def linear(self, x, path):
        _, i, site = path.split('.', 2)
        parts = [self.square(S) for S in self.cores(int(i), site)]
        dW = torch.cat(parts, 1 if site == 'mlp.fc2' else 0)
        return F.linear(x, self.p[path + '.weight'] + dW, self.p[path + '.bias'])


class FacTTT(FacT):
    @classmethod
    def tensors(cls, c, o):
        d, r, m = c['width'], o['rank'], c['hidden'] // c['width']
        own = {cls.F_ + 'FacTu.weight': ((r, d), 0.4), cls.F_ + 'FacTv.weight': ((d, r), 0.4)}
        for i in range(c['depth']):
            for j in range(4):
                own[f'{cls.F_}per_block_para.{i}.attn.{j}.weight'] = ((r, r), 0.4)
            own[f'{cls.F_}per_block_para.{i}.mlp.0.weight'] = ((m * r, r), 0.4)
            own[f'{cls.F_}per_block_para.{i}.mlp.1.weight'] = ((r, m * r), 0.4)
        return own

    def cores(self, i, site):
        own = lambda n: self.t[f'{self.F_}per_block_para.{i}.{n}.weight']
        r = self.o['rank']
        return {'attn.qkv': lambda: [own(f'attn.{j}') for j in range(3)], 'attn.proj': lambda: [own('attn.3')],
                'mlp.fc1': lambda: own('mlp.0').split(r, 0), 'mlp.fc2': lambda: own('mlp.1').split(r, 1)}[site]()


class FacTTK(FacT):
    @classmethod
    def tensors(cls, c, o):
        d, r, m = c['width'], o['rank'], c['hidden'] // c['width']
        return {cls.F_ + 'FacTu.weight': ((r, d), 0.4), cls.F_ + 'FacTv.weight': ((d, r), 0.4),
                cls.F_ + 'FacTp': ((r, (4 + 2 * m) * c['depth']), 0.5), cls.F_ + 'FacTc': ((r, r, r), 0.5)}

    def cores(self, i, site):
        r, m = self.o['rank'], self.c['hidden'] // self.c['width']
        first = (4 + 2 * m) * i
        core = torch.einsum('abc,cj->abj', self.t[self.F_ + 'FacTc'], self.t[self.F_ + 'FacTp'][:, first:first + 4 + 2 * m])
        if site.startswith('attn'):
            return [core[:, :, j].T for j in (range(3) if site == 'attn.qkv' else [3])]
        if site == 'mlp.fc1':
            return [M.T for M in core[:, :, 4:4 + m].reshape(r, m * r).split(r, 1)]
        return core[:, :, 4 + m:].reshape(r, m * r).split(r, 1)


# ---- cases -------------------------------------------------------------------------------------------------------------

STUDY, ORIGINAL = dict(variant='study'), dict(variant='original')
QKV = ['q', 'k', 'v']
EVERY = QKV + ['proj', 'fc1', 'fc2', 'patch_embed']

# name: (method, options as in a study file, implementation, options of it that the study file leaves to defaults, base tensors, architecture)
CASES = {}


def case(name, method, implementation, options=None, implied=None, base=None, c=PLAIN):
    CASES[name] = dict(method=method, options=options or {}, implementation=implementation, implied=implied or {}, base=base or (lambda c, o: []), c=c)


case('linear', 'linear', Linear)
case('linear-layer-1', 'linear', Linear, dict(layer=1))
case('linear-patches', 'linear', Linear, dict(pool='patches'))
case('full', 'full', ViT, base=lambda c, o: list(base_shapes(c)))
case('bitfit', 'bitfit', ViT, base=base_of('.bias'))
case('ln', 'ln', ViT, base=lambda c, o: norms(c))
case('ln-peculiar', 'ln', ViT, base=lambda c, o: norms(c), c=PECULIAR)
case('difffit', 'difffit', DiffFit, base=lambda c, o: sorted(set(norms(c)) | {n for n in base_shapes(c) if n.endswith('.bias')}))
case('difffit-peculiar', 'difffit', DiffFit, base=lambda c, o: sorted(set(norms(c)) | {n for n in base_shapes(c) if n.endswith('.bias')}), c=PECULIAR)
case('selective-attention', 'selective', ViT, dict(blocks=[1], parts=['qkv', 'proj']), base=lambda c, o: [n for n in base_shapes(c) if n.startswith('blocks.1.attn.')])
case('selective-mlp', 'selective', ViT, dict(blocks=[0], parts=['fc1', 'fc2']), base=lambda c, o: [n for n in base_shapes(c) if n.startswith('blocks.0.mlp.')])
case('selective-block', 'selective', ViT, dict(blocks=[-1]), base=lambda c, o: [n for n in base_shapes(c) if n.startswith('blocks.1.')])
case('ssf', 'ssf', SSF)
case('ssf-peculiar', 'ssf', SSF, c=PECULIAR)
case('ia3', 'ia3', IA3, implied=dict(targets=['k', 'v', 'fc2'], feedforward=['fc2']))
case('ia3-all', 'ia3', IA3, dict(targets=QKV + ['proj', 'fc1', 'fc2'], feedforward=['fc1', 'fc2']))
for granularity in ('per-head', 'shared', 'scalar'):
    case(f'attnscale-{granularity}', 'attnscale', AttnScale, dict(granularity=granularity))
case('vpt-deep', 'vpt-deep', VPTDeep, dict(prompts=3))
case('vpt-deep-original', 'vpt-deep', VPTDeep, dict(prompts=3, **ORIGINAL))
case('vpt-shallow', 'vpt-shallow', VPTShallow, dict(prompts=3), STUDY)
case('vpt-shallow-original', 'vpt-shallow', VPTShallow, dict(prompts=3, **ORIGINAL))
case('vqt', 'vqt', VQT, dict(prompts=3))
case('kv-prefix', 'kv-prefix', KVPrefix, dict(prompts=3))
case('kv-prefix-network', 'kv-prefix', KVPrefix, dict(prompts=3, reparametrization=5))
for variant in (STUDY, ORIGINAL):
    for kind, implementation in (('pfeiffer', Pfeiffer), ('houlsby', Houlsby), ('adaptformer', AdaptFormer)):
        end = '' if variant is STUDY else '-original'
        case(kind + end, kind, implementation, dict(bottleneck=4, scale=0.5, **variant))
        case(kind + end + '-peculiar', kind, implementation, dict(bottleneck=4, scale=0.5, **variant), c=PECULIAR)
case('adapter-before', 'adapter', Adapter, dict(bottleneck=4, branches=['attention', 'mlp'], position='before', activation='gelu'))
case('adapter-after', 'adapter', Adapter, dict(bottleneck=4, branches=['attention'], scale=2, learnableScale=True))
case('adapter-parallel', 'adapter', Adapter, dict(bottleneck=4, branches=['attention', 'mlp'], position='parallel', input='normalized', dropPath='twice'), c=PECULIAR)
case('repadapter', 'repadapter', RepAdapter, dict(bottleneck=4, scale=0.5), dict(groups=2))
case('repadapter-groups-peculiar', 'repadapter', RepAdapter, dict(bottleneck=8, groups=4, scale=2), c=PECULIAR)
case('convpass', 'convpass', Convpass, dict(bottleneck=3, scale=0.5))
case('convpass-original-peculiar', 'convpass', Convpass, dict(bottleneck=3, scale=0.5, convolution='xavier', **ORIGINAL), c=PECULIAR)
case('lora', 'lora', LoRA, dict(rank=3), dict(targets=QKV, sharing='fused'))
case('lora-original', 'lora', LoRA, dict(rank=3, alpha=6, **ORIGINAL), dict(targets=QKV, sharing='separate'))
case('lora-two-thirds', 'lora', LoRA, dict(rank=3, targets=['q', 'v'], alpha=2), dict(sharing='fused'))
case('lora-one-block', 'lora', LoRA, dict(rank=3, targets=['v', 'fc2'], blocks=[-1], **ORIGINAL), dict(sharing='separate'))
case('lora-everywhere', 'lora', LoRA, dict(rank=2, alpha=4, rankStabilized=True, targets=EVERY, sharing='fused', **ORIGINAL))
case('lora-everywhere-peculiar', 'lora', LoRA, dict(rank=2, targets=EVERY, sharing='separate'), c=PECULIAR)
case('dora', 'dora', DoRA, dict(rank=3, alpha=3), dict(targets=QKV, sharing='separate'))
case('dora-fused-thirds', 'dora', DoRA, dict(rank=3, targets=['q', 'v'], sharing='fused'))
case('dora-everywhere-peculiar', 'dora', DoRA, dict(rank=2, targets=EVERY, sharing='fused'), c=PECULIAR)
case('fact-tt', 'fact-tt', FacTTT, dict(rank=3), dict(scale=1))
case('fact-tt-peculiar', 'fact-tt', FacTTT, dict(rank=3, scale=0.5, **ORIGINAL), c=PECULIAR)
case('fact-tk', 'fact-tk', FacTTK, dict(rank=3), dict(scale=1))
case('fact-tk-peculiar', 'fact-tk', FacTTK, dict(rank=3, scale=0.5, **ORIGINAL), c=PECULIAR)
case('dra', 'dra', DRA)
case('dra-peculiar', 'dra', DRA, c=PECULIAR)
case('apt', 'apt', APT, dict(prompts=5, rank=2))
case('apt-peculiar', 'apt', APT, dict(prompts=5, rank=2), c=PECULIAR)
case('loreft', 'loreft', LoReFT, dict(rank=3), dict(positions='all', tied=True))
case('loreft-untied', 'loreft', LoReFT, dict(rank=2, positions='class+first', patches=4, tied=False))
case('loreft-class', 'loreft', LoReFT, dict(rank=3, positions='class', blocks=[-1]), dict(tied=True), c=PECULIAR)
case('direft', 'direft', DiReFT, dict(rank=3, positions='patches'), dict(tied=True))
case('direft-orthonormal', 'direft', DiReFT, dict(rank=3, orthonormal=True, tied=False), dict(positions='all'))


def together(*implementations):
    """Methods that are trained together; their options stand side by side."""
    own = lambda c, o: {n: s for implementation in implementations for n, s in implementation.tensors(c, o).items()}
    return type('Together', implementations, {'tensors': staticmethod(own)})


EVERY_LINEAR = QKV + ['proj', 'fc1', 'fc2']
case('sift', 'sift', SIFT, dict(rate=0.05), dict(targets=EVERY_LINEAR, selection='gradient'))
case('sift-two-thirds', 'sift', SIFT, dict(rate=0.1, targets=['q', 'v', 'proj']), dict(selection='gradient'))
case('sift-weight-peculiar', 'sift', SIFT, dict(rate=0.03, selection='weight'), dict(targets=EVERY_LINEAR), c=PECULIAR)
case('sift-every-element', 'sift', SIFT, dict(rate=1, targets=['fc2']), dict(selection='gradient'))

case('vpt-deep+lora', 'vpt-deep+lora', together(VPTDeep, LoRA), {'vpt-deep': dict(prompts=3), 'lora': dict(rank=3)},
     dict(prompts=3, rank=3, targets=QKV, sharing='fused'))
case('attnscale+dra', 'attnscale+dra', together(AttnScale, DRA), {'attnscale': dict(granularity='shared'), 'dra': {}}, dict(granularity='shared'))
case('bitfit+adaptformer', 'bitfit+adaptformer', AdaptFormer, {'bitfit': {}, 'adaptformer': dict(bottleneck=4, scale=0.5)},
     dict(bottleneck=4, scale=0.5, **STUDY), base=base_of('.bias'))


# ---- computing them ----------------------------------------------------------------------------------------------------

def start_of(case, base, seed):
    """Random values of everything that trains, head included."""
    c, o = case['c'], {**case['implied'], **case['options']}
    g = generator(seed)
    start = {n: base[n] + draw(base[n].shape, 0.05, g) for n in case['base'](c, o)}
    for name, spec in case['implementation'].tensors(c, o).items():
        shape, std, mean = (spec + (0.0,))[:3] if isinstance(spec[0], tuple) and len(spec) > 1 else (spec, 0.3, 0.0)
        start[name] = draw(shape, std, g, mean)
    start['head.weight'], start['head.bias'] = draw((CLASSES, c['width']), 0.3, g), draw((CLASSES,), 0.1, g)
    return {n: v.float().double() for n, v in start.items()}


def fixed_of(case, base, start):
    """What belongs to the adapter and does not train."""
    if not hasattr(case['implementation'], 'fixed'):
        return {}
    head = {n: v for n, v in start.items() if n.startswith('head.')}
    return case['implementation'].fixed(case['c'], {**case['implied'], **case['options']}, {**base, **head})


def compute(case, base, start, fixed, dtype=torch.float64):
    c, o = case['c'], {**case['implied'], **case['options']}
    images, labels = batch(c)
    images = images.to(dtype)
    values = {n: v.to(dtype).clone().requires_grad_() for n, v in start.items()}
    frozen = {n: v.to(dtype) for n, v in base.items() if n not in values}
    def loss_of():
        own = {n: v for n, v in values.items() if n not in base and not n.startswith('head.')}
        p = {**frozen, **{n: v for n, v in values.items() if n not in own}}
        logits = case['implementation'](c, p, {**own, **{n: v.to(dtype) for n, v in fixed.items()}}, o).forward(images)
        return logits, F.cross_entropy(logits, labels)
    logits, loss = loss_of()
    gradients = torch.autograd.grad(loss, list(values.values()))
    result = {'logits': logits.detach(), 'loss': loss.detach().reshape(1), **{f'grad.{n}': g for n, g in zip(values, gradients)}}
    decays = lambda n: n.startswith('head.') or not hasattr(case['implementation'], 'NO_DECAY')
    groups = [{'params': [v for n, v in values.items() if decays(n)]},
              {'params': [v for n, v in values.items() if not decays(n)], 'weight_decay': 0.0}]
    adamw = torch.optim.AdamW([g for g in groups if g['params']], lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)
    losses = []
    for _ in range(3):
        adamw.zero_grad()
        _, loss = loss_of()
        losses.append(loss.detach())
        loss.backward()
        adamw.step()
    return {**result, 'loss_steps': torch.stack(losses), **{f'train3.{n}': v.detach().clone() for n, v in values.items()}}


def without_key_bias(name, x):
    """Softmax does not see the key bias: its gradient is 0 but for noise."""
    if not name.endswith('attn.qkv.bias'):
        return x
    q, _, v = x.chunk(3)
    return torch.cat([q, v])


def is_stable(start, exact, single):
    """Whether float32 reaches a fifth of the tolerances of the tests."""
    worst = lambda key: (exact[key] - single[key].double()).abs().max().item()
    if worst('logits') > 2e-5 or worst('loss') > 4e-6 or worst('loss_steps') > 4e-6:
        return False
    for n in start:
        g, h = (without_key_bias(n, r[f'grad.{n}'].double()) for r in (exact, single))
        if (g - h).abs().max() > 2e-4 * g.abs().max() or g.abs().max() < 1e-5:
            return False
        clear = exact[f'grad.{n}'].abs() >= 1e-6
        if ((exact[f'train3.{n}'] - single[f'train3.{n}'].double()).abs()[clear] > 4e-6).any():
            return False
    return True


def save(name, tensors, about):
    """One key of metadata, since several would stand in another order each time."""
    save_file({n: v.float().contiguous() for n, v in tensors.items()}, FOLDER / f'{name}.safetensors', metadata={'golden': json.dumps(about)})


def write(name):
    case = CASES[name]
    base = base_tensors(case['c'])
    for seed in range(100, 200):
        start = start_of(case, base, seed)
        fixed = fixed_of(case, base, start)
        exact, single = compute(case, base, start, fixed), compute(case, base, start, fixed, torch.float32)
        if is_stable(start, exact, single):
            break
    else:
        raise SystemExit(f'{name}: no seed gives stable numbers')
    tensors = {**{f'init.{n}': v for n, v in start.items()}, **{f'fixed.{n}': v for n, v in fixed.items()}, **exact}
    save(name, tensors, {'method': case['method'], 'options': case['options'], 'backbone': 'plain' if case['c'] is PLAIN else 'peculiar'})
    frozen = case['implementation'](case['c'], {**base, **start}, {**start, **fixed}, {**case['implied'], **case['options']})
    plain = ViT(case['c'], {**base, 'head.weight': start['head.weight'], 'head.bias': start['head.bias']}, {}, {})
    effect = (frozen.forward(batch(case['c'])[0]) - plain.forward(batch(case['c'])[0])).abs().max().item()
    count = sum(v.numel() for n, v in start.items() if not n.startswith('head.'))
    print(f'{name:28s} seed {seed}  loss {exact["loss"].item():.4f}  effect on logits {effect:.3f}  {count} parameters')


def write_backbone(name, c):
    images, labels = batch(c)
    tensors = {**base_tensors(c), 'images': images}
    save(f'backbone-{name}', tensors, {'architecture': c, 'labels': labels.tolist()})


# ---- checks against timm and Hugging Face's PEFT -----------------------------------------------------------------------

def timm_model(c, p):
    import timm
    model = timm.models.vision_transformer.VisionTransformer(
        img_size=c['imageSize'], patch_size=c['patch'], embed_dim=c['width'], depth=c['depth'], num_heads=c['heads'],
        mlp_ratio=c['hidden'] / c['width'], num_classes=CLASSES, pre_norm=c['preNorm'], qkv_bias=True,
        init_values=1.0 if c['layerScale'] else None, norm_layer=functools.partial(torch.nn.LayerNorm, eps=c['layerNormEpsilon']),
        act_layer=torch.nn.GELU if c['activation'] == 'gelu' else timm.layers.QuickGELU).double().eval()
    model.load_state_dict(p)
    return model


def check(what, a, b, limit=1e-9):
    difference = (a - b).abs().max().item()
    print(f'{what}: differs by {difference:.1e}')
    assert difference < limit, what


def check_against_libraries():
    for name, c in (('plain', PLAIN), ('peculiar', PECULIAR)):
        base, head = base_tensors(c), {'head.weight': draw((CLASSES, c['width']), 0.3, generator(9)), 'head.bias': draw((CLASSES,), 0.1, generator(8))}
        check(f'timm, {name} backbone', timm_model(c, {**base, **head})(batch(c)[0]), ViT(c, {**base, **head}, {}, {}).forward(batch(c)[0]))
    check_against_peft()


def check_against_peft():
    import peft
    c, base = PLAIN, base_tensors(PLAIN)
    head = {'head.weight': draw((CLASSES, c['width']), 0.3, generator(9)), 'head.bias': draw((CLASSES,), 0.1, generator(8))}
    images, _ = batch(c)
    o = dict(rank=3, alpha=6, targets=EVERY, sharing='fused')
    for dora in (False, True):
        for stabilised in (False, True):
            cls = DoRA if dora else LoRA
            options = dict(o, rankStabilized=stabilised)
            if dora:  # PEFT's DoRA of a convolution takes another norm
                options['targets'] = QKV + ['proj', 'fc1', 'fc2']
            g = generator(5)
            own = {n: draw(s[0] if isinstance(s[0], tuple) else s, 0.3, g, 1.2 if 'magnitude' in n else 0.0) for n, s in cls.tensors(c, options).items()}
            model = peft.get_peft_model(timm_model(c, {**base, **head}), peft.LoraConfig(
                r=3, lora_alpha=6, use_rslora=stabilised, use_dora=dora,
                target_modules=r'.*(attn\.qkv|attn\.proj|mlp\.fc1|mlp\.fc2' + (')' if dora else r'|patch_embed\.proj)'))).double().eval()
            state = model.state_dict()
            for path, [(name, *_)] in cls.pairs(c, options).items():
                for factor, theirs in (('a', 'lora_A'), ('b', 'lora_B')):
                    key = f'base_model.model.{path}.{theirs}.default.weight'
                    state[key] = own[name.format(factor)].reshape(state[key].shape)
                if dora:
                    state[f'base_model.model.{path}.lora_magnitude_vector.default.weight'] = own[cls.magnitude(path)]
            model.load_state_dict(state)
            check(f'peft, {cls.NAME}, rank-stabilised {stabilised}', model(images), cls(c, {**base, **head}, own, options).forward(images))
    own = {n: draw(s[0], s[1], generator(6), s[2]) for n, s in IA3.tensors(c, dict(targets=QKV + ['fc2'], feedforward=['fc2'])).items()}
    model = peft.get_peft_model(timm_model(c, {**base, **head}), peft.IA3Config(target_modules=['qkv', 'fc2'], feedforward_modules=['fc2'])).double().eval()
    state = model.state_dict()
    for i in range(c['depth']):
        b = f'base_model.model.blocks.{i}.'
        state[b + 'attn.qkv.ia3_l.default'] = torch.cat([own[f'blocks.{i}.ia3.{t}'] for t in 'qkv'])[:, None]
        state[b + 'mlp.fc2.ia3_l.default'] = own[f'blocks.{i}.ia3.fc2'][None]
    model.load_state_dict(state)
    check('peft, (IA)^3', model(images), IA3(c, {**base, **head}, own, dict(targets=QKV + ['fc2'], feedforward=['fc2'])).forward(images))


if __name__ == '__main__':
    torch.use_deterministic_algorithms(True)
    FOLDER.mkdir(parents=True, exist_ok=True)
    wanted = sys.argv[1:]
    if not wanted:
        check_against_libraries()
    write_backbone('plain', PLAIN)
    write_backbone('peculiar', PECULIAR)
    for name in wanted or CASES:
        write(name)
