import assert from 'node:assert/strict';
import http from 'node:http';
import net, { type AddressInfo } from 'node:net';
import { before, after, describe, it } from 'node:test';
import { UserError } from '../../../src/common/errors';
import { get, NetworkError, unreachable, withoutCredentials } from '../../../src/interop/network';

/** A proxy as companies have them: it knows CONNECT, and remembers where to. */
describe('get', () => {
  const tunnels: string[] = [], authorizations: (string | undefined)[] = [];
  const site = http.createServer((request, response) => {
    authorizations.push(request.headers.authorization);
    if (request.url === '/moved') response.writeHead(302, { location: '/here' }).end();
    else response.end(`${request.url} ${request.headers['accept-encoding']}`);
  });
  const proxy = http.createServer();
  let port = 0;

  before(async () => {
    proxy.on('connect', (request, socket, head) => {
      tunnels.push(request.url!);
      const target = net.connect(port, '127.0.0.1', () => { socket.write('HTTP/1.1 200 OK\r\n\r\n'); target.write(head); target.pipe(socket); socket.pipe(target); });
      for (const one of [target, socket]) one.on('error', () => undefined); // either side may hang up first
    });
    for (const server of [site, proxy]) await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
    port = (site.address() as AddressInfo).port;
    process.env['HTTP_PROXY'] = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
    process.env['NO_PROXY'] = '127.0.0.1';
  });
  after(() => { for (const server of [site, proxy]) { server.closeAllConnections(); server.close(); } });

  it('names a proxy that is no address', async () => {
    const { HTTP_PROXY } = process.env;
    process.env['HTTP_PROXY'] = 'http://[';
    try {
      await assert.rejects(get('http://packages.example/x'), (error: unknown) => error instanceof UserError && /HTTP_PROXY, HTTPS_PROXY: a proxy in the environment is not an address/.test(error.message));
    } finally {
      process.env['HTTP_PROXY'] = HTTP_PROXY;
    }
  });

  it('goes through the proxy of the environment, but for the hosts it names', async () => {
    assert.equal(await (await get('http://packages.example/x')).text(), '/x identity');
    assert.deepEqual(tunnels, ['packages.example:80']);
    assert.equal(await (await get(`http://127.0.0.1:${port}/moved`)).text(), '/here identity');
    assert.equal(tunnels.length, 1);
  });

  it('sends the name and password of an address in a header, and keeps them out of messages', async () => {
    authorizations.length = 0;
    const response = await get(`http://me:p%40ss@127.0.0.1:${port}/x`);
    await response.text();
    assert.deepEqual(authorizations, [`Basic ${Buffer.from('me:p@ss').toString('base64')}`]);
    assert.equal(withoutCredentials('https://me:secret@host/a?b').url, 'https://host/a?b');
    await assert.rejects(get('http://me:secret@127.0.0.1:1/'), (error: unknown) => error instanceof NetworkError && !error.message.includes('secret'));
  });

  it('says in words what is wrong, and stops when asked', async () => {
    const server = net.createServer();
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
    const closed = (server.address() as AddressInfo).port;
    await new Promise(resolve => server.close(resolve));
    const error = await get(`http://127.0.0.1:${closed}/`).catch((thrown: unknown) => thrown);
    assert.ok(error instanceof NetworkError);
    assert.match(unreachable(error).message, new RegExp(`cannot reach 127\\.0\\.0\\.1:${closed}: the connection was refused\n {2}Check the network\\. Behind a proxy, set HTTPS_PROXY`));
    const why = new Error('asked');
    await assert.rejects(get(`http://127.0.0.1:${port}/`, { signal: AbortSignal.abort(why) }), thrown => thrown === why);
  });
});
