// The OpenID provider of the tests: oidc-provider with clients for every grant.
//
//   node provider.mjs MODULES OPTIONS
//
// MODULES is the directory that oidc-provider is installed in, OPTIONS is JSON.
// It listens on a free port of loopback and says so in its first line. After
// that, each line it reads is a command in JSON, and it answers each with a line.
// It ends with its input.
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import { createRequire } from 'node:module';
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { pathToFileURL } from 'node:url';

const [modules, text] = process.argv.slice(2);
const options = JSON.parse(text);
const require = createRequire(pathToFileURL(`${modules}/`));
const { Provider } = await import(pathToFileURL(require.resolve('oidc-provider')).href);
// One memory for all providers of this process, so that grants outlive a change.
const { createMemoryAdapter } = await import(pathToFileURL(`${modules}/node_modules/oidc-provider/lib/adapters/memory_adapter.js`).href);
const adapter = createMemoryAdapter();

const deviceCode = 'urn:ietf:params:oauth:grant-type:device_code';
const everyScope = 'openid email profile offline_access api';
let keys = [newKey()];
let redirects = options.redirectURIs ?? [];
let outage = '';

function newKey() {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  return { ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), use: 'sig', alg: 'RS256' };
}

function clients() {
  const code = { grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'] };
  const none = { redirect_uris: [], response_types: [] };
  const web = { ...code, redirect_uris: redirects, post_logout_redirect_uris: redirects.map((u) => new URL('/', u).href) };
  const list = [
    // Any port of a loopback address is the same address to a native client.
    { client_id: 'native', token_endpoint_auth_method: 'none', application_type: 'native', ...code,
      grant_types: [...code.grant_types, deviceCode], redirect_uris: ['http://127.0.0.1/callback'] },
    { client_id: 'native-secret', client_secret: 'native-secret-secret', token_endpoint_auth_method: 'client_secret_post',
      application_type: 'native', ...code, redirect_uris: ['http://127.0.0.1/callback'] },
    { client_id: 'device', token_endpoint_auth_method: 'none', application_type: 'native', ...none,
      grant_types: [deviceCode, 'refresh_token'] },
    { client_id: 'device-secret', client_secret: 'device-secret-secret', token_endpoint_auth_method: 'client_secret_post',
      ...none, grant_types: [deviceCode, 'refresh_token'] },
    { client_id: 'service', client_secret: 'service-secret', token_endpoint_auth_method: 'client_secret_basic', ...none,
      grant_types: ['client_credentials'] },
    { client_id: 'service-post', client_secret: 'service-post-secret', token_endpoint_auth_method: 'client_secret_post', ...none,
      grant_types: ['client_credentials'] },
  ];
  if (redirects.length > 0) {
    list.push(
      { client_id: 'web', client_secret: 'web-secret', token_endpoint_auth_method: 'client_secret_basic', ...web },
      { client_id: 'web-post', client_secret: 'web-post-secret', token_endpoint_auth_method: 'client_secret_post', ...web },
      { client_id: 'web-public', token_endpoint_auth_method: 'none', ...web },
    );
  }
  return list;
}

function newProvider() {
  const lifetime = options.lifetime || 60;
  const provider = new Provider(issuer, {
    adapter,
    clients: clients(),
    jwks: { keys },
    findAccount: async (_ctx, sub) => ({
      accountId: sub,
      claims: async () => ({ sub, email: `${sub}@example.test`, email_verified: true, name: sub, groups: ['analysts'] }),
    }),
    claims: { openid: ['sub', 'groups'], email: ['email', 'email_verified'], profile: ['name'] },
    conformIdTokenClaims: false,
    scopes: everyScope.split(' '),
    features: {
      deviceFlow: { enabled: true, deviceInfo: (ctx) => ({ ip: ctx.ip }) },
      devInteractions: { enabled: Boolean(options.pages) },
      clientCredentials: { enabled: true },
      revocation: { enabled: true },
      introspection: { enabled: true },
      rpInitiatedLogout: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => options.audience,
        useGrantedResource: () => true,
        getResourceServerInfo: (_ctx, resource) => ({
          scope: everyScope, audience: resource, accessTokenFormat: 'jwt', jwt: { sign: { alg: 'RS256' } },
        }),
      },
    },
    ...(options.pages ? {} : { interactions: { url: (_ctx, { uid }) => `/interaction/${uid}` } }),
    issueRefreshToken: async (_ctx, client) => client.grantTypeAllowed('refresh_token'),
    rotateRefreshToken: Boolean(options.rotateRefreshTokens),
    pkce: { required: () => true },
    ttl: {
      AccessToken: lifetime, ClientCredentials: lifetime, IdToken: lifetime,
      DeviceCode: options.deviceLifetime || 300, Interaction: 300, Session: 300, Grant: 3600, RefreshToken: 3600,
    },
    cookies: { keys: ['only for tests'] },
  });
  provider.on('server_error', (_ctx, err) => console.error('server_error', err));
  provider.use(async (ctx, next) => {
    if (options.pages || !ctx.path.startsWith('/interaction/')) return next();
    return agree(provider, ctx);
  });
  return provider;
}

// agree does what the person would: signs in as options.account, and grants all
// that is asked for, or denies it.
async function agree(provider, ctx) {
  ctx.respond = false;
  const { prompt, params, session, grantId } = await provider.interactionDetails(ctx.req, ctx.res);
  let result;
  if (options.deny) {
    result = { error: 'access_denied', error_description: 'the person said no' };
  } else if (prompt.name === 'login') {
    result = { login: { accountId: options.account || 'alice' } };
  } else {
    const grant = grantId ? await provider.Grant.find(grantId)
      : new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
    const { missingOIDCScope, missingOIDCClaims, missingResourceScopes } = prompt.details;
    if (missingOIDCScope) grant.addOIDCScope(missingOIDCScope.join(' '));
    if (missingOIDCClaims) grant.addOIDCClaims(missingOIDCClaims);
    for (const [resource, scopes] of Object.entries(missingResourceScopes ?? {})) {
      grant.addResourceScope(resource, scopes.join(' '));
    }
    result = { consent: { grantId: await grant.save() } };
  }
  await provider.interactionFinished(ctx.req, ctx.res, result, { mergeWithLastSubmission: prompt.name !== 'login' });
}

let handle;
const counts = {};
const server = createServer((req, res) => {
  const path = req.url.split('?')[0];
  counts[path] = (counts[path] ?? 0) + 1;
  switch (outage) {
    case '': return handle(req, res);
    case 'reset': return req.socket.destroy();
    default: res.writeHead(503, { 'Content-Type': 'text/plain' }).end('out of service');
  }
});
server.keepAliveTimeout = 0; // a POST must not meet the end of its connection
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const issuer = `http://127.0.0.1:${server.address().port}`;
handle = newProvider().callback();
console.log(JSON.stringify({ issuer }));

const commands = {
  // New tokens are signed with a new key. The old ones stay known with keep.
  rotate({ keep }) {
    keys = [newKey(), ...(keep ? keys : [])];
    handle = newProvider().callback();
  },
  redirects({ uris }) {
    redirects = [...new Set([...redirects, ...uris])];
    handle = newProvider().callback();
  },
  outage({ kind }) { outage = kind; },
  account({ account, deny }) { Object.assign(options, { account, deny }); },
  counts() { return { counts }; },
};
for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  try {
    console.log(JSON.stringify(commands[command.do](command) ?? {}));
  } catch (err) {
    console.log(JSON.stringify({ error: String(err) }));
  }
}
process.exit(0);
