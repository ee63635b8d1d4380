// An OpenID provider for the tests: panva's oidc-provider with its own plain
// sign-in pages, which take any password. Package parts starts it with
//
//   OIDC_PROVIDER_DIR   the folder with node_modules
//   OIDC_PROVIDER       the settings, as JSON; see Settings below
//
// Settings: {
//   port,                    listens on 127.0.0.1 only
//   clients,                 client metadata, as the provider takes it
//   users,                   { login: claims } ; others may sign in and have only a sub
//   keys,                    a file for the private keys, made if it is not there
//   ttl,                     { AccessToken: seconds, ... }
//   idTokenWithoutClaims,    true: name, groups and so on come from userinfo only
//   jwtAudience,             a resource whose access tokens are JWTs
//   fixedRefreshTokens,      true: a refresh token is not replaced when used
//   features,                laid over the features switched on here
//   store,                   a file for sessions and tokens, for the next start
// }
import { generateKeyPairSync } from 'node:crypto';
import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const entry = join(process.env.OIDC_PROVIDER_DIR, 'node_modules/oidc-provider/lib/index.js');
const { Provider } = await import(pathToFileURL(entry));
const settings = JSON.parse(process.env.OIDC_PROVIDER);
const issuer = `http://127.0.0.1:${settings.port}`;

function keys() {
  if (!existsSync(settings.keys)) {
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const key = { ...privateKey.export({ format: 'jwk' }), use: 'sig', alg: 'RS256' };
    writeFileSync(settings.keys, JSON.stringify({ keys: [key] }), { mode: 0o600 });
  }
  return JSON.parse(readFileSync(settings.keys));
}

// One table for all models. settings.store is its journal: a line for each
// change, so that the thousandth costs no more than the first.
const table = new Map();
if (existsSync(settings.store)) {
  for (const line of readFileSync(settings.store, 'utf8').split('\n').slice(0, -1)) {
    const [key, entry] = JSON.parse(line);
    if (entry) table.set(key, entry);
    else table.delete(key);
  }
}

class Store {
  constructor(model) {
    this.model = model;
  }

  key(id) {
    return `${this.model}:${id}`;
  }

  save(key) {
    appendFileSync(settings.store, `${JSON.stringify([key, table.get(key) ?? null])}\n`);
  }

  search(field, value) {
    for (const [key, entry] of table) {
      if (key.startsWith(`${this.model}:`) && entry[field] === value) return entry;
    }
    return undefined;
  }

  async upsert(id, payload) {
    table.set(this.key(id), payload);
    this.save(this.key(id));
  }

  async find(id) {
    return table.get(this.key(id));
  }

  async findByUid(uid) {
    return this.search('uid', uid);
  }

  async findByUserCode(code) {
    return this.search('userCode', code);
  }

  async consume(id) {
    table.get(this.key(id)).consumed = Math.floor(Date.now() / 1000);
    this.save(this.key(id));
  }

  async destroy(id) {
    table.delete(this.key(id));
    this.save(this.key(id));
  }

  async revokeByGrantId(grantId) {
    for (const [key, entry] of table) {
      if (entry.grantId !== grantId) continue;
      table.delete(key);
      this.save(key);
    }
  }
}

const provider = new Provider(issuer, {
  adapter: Store,
  clients: settings.clients,
  jwks: keys(),
  claims: {
    openid: ['sub'],
    email: ['email', 'email_verified'],
    profile: ['name', 'preferred_username'],
    groups: ['groups'],
  },
  scopes: ['openid', 'offline_access', 'email', 'profile', 'groups'],
  findAccount: (ctx, id) => ({
    accountId: id,
    claims: () => ({ ...settings.users[id], sub: id }),
  }),
  conformIdTokenClaims: settings.idTokenWithoutClaims ?? false,
  pkce: { required: () => true },
  issueRefreshToken: (ctx, client, code) =>
    client.grantTypeAllowed('refresh_token') && code.scopes.has('offline_access'),
  rotateRefreshToken: !settings.fixedRefreshTokens,
  ttl: {
    AccessToken: 600,
    AuthorizationCode: 60,
    ClientCredentials: 600,
    Grant: 86400,
    IdToken: 600,
    Interaction: 600,
    RefreshToken: 86400,
    Session: 86400,
    DeviceCode: 600,
    ...settings.ttl,
  },
  cookies: {
    keys: ['for tests only'],
    // Cookies know no ports: two providers on one address need two names.
    names: {
      session: `op_${settings.port}_session`,
      interaction: `op_${settings.port}_interaction`,
      resume: `op_${settings.port}_resume`,
    },
  },
  // The default one refuses loopback addresses, where the tests receive
  // back-channel logout tokens. Its signal gives up after 2.5 s, which a busy
  // machine may take.
  fetch: (url, { dispatcher, signal, ...options }) =>
    globalThis.fetch(url, { ...options, signal: AbortSignal.timeout(20_000) }),
  features: {
    devInteractions: { enabled: true },
    backchannelLogout: { enabled: true },
    clientCredentials: { enabled: true },
    deviceFlow: { enabled: true },
    introspection: { enabled: true },
    pushedAuthorizationRequests: { enabled: true },
    revocation: { enabled: true },
    rpInitiatedLogout: { enabled: true },
    userinfo: { enabled: true },
    resourceIndicators: {
      enabled: Boolean(settings.jwtAudience),
      // A person's access token has to work at userinfo too, so only machine
      // clients get a JWT without asking for the resource.
      defaultResource: (ctx, client, oneOf) =>
        oneOf ?? (ctx.oidc.params.grant_type === 'client_credentials' ? settings.jwtAudience : undefined),
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({
        scope: 'api:read api:write',
        audience: settings.jwtAudience,
        accessTokenFormat: 'jwt',
        jwt: { sign: { alg: 'RS256' } },
      }),
    },
    ...settings.features,
  },
});

for (const name of ['server_error', 'authorization.error', 'grant.error', 'end_session.error', 'backchannel.error']) {
  provider.on(name, (ctx, err) => console.error(name, err.message, err.error_description ?? ''));
}
provider.on('backchannel.success', (ctx, client, user, sid) =>
  console.log('backchannel.success', client.clientId, user, sid));
const server = provider.listen(settings.port, '127.0.0.1', () => console.log('up', issuer));
// Node closes a connection after 5 s without a request, maybe just when the next comes.
server.keepAliveTimeout = 120_000;
