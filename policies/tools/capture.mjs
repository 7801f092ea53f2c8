#!/usr/bin/env node
// Captures what real MCP servers answer, so that policies and tests can work on
// the real thing without running the servers.
//
//   node policies/tools/capture.mjs [--calls] [server...]
//
// For every server in the table below, or only for those named, this installs
// the pinned npm package into a temporary directory, starts the server over
// stdio in namespaces of its own (no network but loopback, /srv holding only
// the installed package and a few sample files) and writes its complete
// tools/list answer to policies/tools/<id>.json, tools exactly as they came.
// With --calls it also makes the tool calls in the table and writes each result
// to test/cases/captured/<id>.<tool>.json.
//
// Needs Linux, root, Node 20, npm and util-linux. All credentials are dummies.

import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

// `pins` fixes the dependencies that define the tools or render their schemas.
const sdk = { '@modelcontextprotocol/sdk': '1.32.2' };
const sdkV2 = { '@modelcontextprotocol/core': '2.4.0', '@modelcontextprotocol/server': '2.4.0' };

const servers = [
  {
    id: 'filesystem',
    package: '@modelcontextprotocol/server-filesystem',
    version: '2026.8.31',
    pins: { ...sdk, zod: '4.6.7' },
    args: ['/srv/files'],
    calls: [
      ['list_directory', { path: '/srv/files' }],
      ['read_text_file', { path: '/srv/files/customers.json' }],
      ['read_multiple_files', { paths: ['/srv/files/notes.txt', '/srv/files/missing.txt'] }],
      ['read_file', { path: '/etc/passwd' }], // refused by the server: an isError result
      ['write_file', { path: '/srv/files/report.txt', content: 'Two customers, one overdue invoice.\n' }],
      ['edit_file', {
        path: '/srv/files/notes.txt',
        edits: [{ oldText: 'Call back on Monday.', newText: 'Call back on Tuesday.' }],
        dryRun: false,
      }],
    ],
  },
  {
    id: 'memory',
    package: '@modelcontextprotocol/server-memory',
    version: '2026.8.31',
    pins: { ...sdk, zod: '4.6.7' },
    env: { MEMORY_FILE_PATH: '/srv/files/memory.jsonl' },
    calls: [
      ['create_entities', {
        entities: [
          { name: 'Ada Sample', entityType: 'person', observations: ['Email is ada.sample@example.com'] },
          { name: 'Example Ltd', entityType: 'company', observations: ['Pays by invoice'] },
        ],
      }],
      ['create_relations', {
        relations: [{ from: 'Ada Sample', to: 'Example Ltd', relationType: 'works at' }],
      }],
      ['read_graph', {}],
    ],
  },
  {
    id: 'everything',
    package: '@modelcontextprotocol/server-everything',
    version: '2026.8.31',
    pins: { ...sdk, zod: '4.6.7' },
    calls: [
      ['echo', { message: 'Hello from a captured call.' }],
      ['get-sum', { a: 2, b: 40 }],
      ['get-structured-content', { location: 'Chicago' }],
      ['get-annotated-message', { messageType: 'error', includeImage: false }],
      ['get-resource-links', { count: 2 }],
    ],
  },
  {
    id: 'sequential-thinking',
    package: '@modelcontextprotocol/server-sequential-thinking',
    version: '2026.8.31',
    pins: { ...sdk, zod: '4.6.7' },
    calls: [
      ['sequentialthinking', {
        thought: 'First list the customers, then check which invoices are overdue.',
        nextThoughtNeeded: true,
        thoughtNumber: 1,
        totalThoughts: 2,
      }],
    ],
  },
  {
    id: 'playwright',
    package: '@playwright/mcp',
    version: '0.0.83',
    args: ['--caps=network,storage'],
  },
  {
    id: 'stripe',
    package: '@stripe/mcp',
    version: '0.2.5', // the last one with tools of its own: later ones only forward to a remote server
    pins: { ...sdk, '@stripe/agent-toolkit': '0.7.12', zod: '3.25.76', 'zod-to-json-schema': '3.25.2' },
    args: ['--tools=all', '--api-key=sk_test_dummy'],
  },
  {
    id: 'mongodb',
    package: 'mongodb-mcp-server',
    version: '3.0.4',
    pins: sdkV2,
    env: { MDB_MCP_TELEMETRY: 'disabled' },
    calls: [
      ['list-connections', {}],
      ['find', { connectionId: 'none', database: 'shop', collection: 'customers' }],
    ],
  },
  {
    id: 'supabase',
    package: '@supabase/mcp-server-supabase',
    version: '0.13.0',
    pins: { ...sdkV2, '@supabase/mcp-utils': '0.8.0', zod: '4.6.7' },
    // Everything but "docs", which asks the network for its tool description.
    args: [
      '--access-token=sbp_0000000000000000000000000000000000000000',
      '--features=account,branching,database,debugging,development,functions,storage',
    ],
  },
];

// What the servers find in /srv/files. All of it is invented.
const sampleFiles = {
  'customers.json': JSON.stringify([
    {
      id: 1001, name: 'Ada Sample', email: 'ada.sample@example.com', phone: '+1-202-555-0143',
      card: '4242 4242 4242 4242', address: '1 Example Street, Springfield',
    },
    {
      id: 1002, name: 'Ben Placeholder', email: 'ben.placeholder@example.com', phone: '+1-202-555-0178',
      card: '4000 0566 5566 5556', address: '2 Example Street, Springfield',
    },
  ], null, 2) + '\n',
  'notes.txt': 'Invoice 7 is overdue.\nCall back on Monday.\n',
};

const protocolVersion = '2025-11-25';
const installTimeout = 300_000;
const requestTimeout = 30_000;
const isolation = ['--net', '--mount', '--pid', '--fork', '--kill-child'];
const startInside = `
  mount --bind "$1" /srv || exit 1
  if command -v ip >/dev/null; then ip link set lo up || exit 1; fi
  cd /srv/home || exit 1
  shift
  exec "$@"`;

const toolsDirectory = fileURLToPath(new URL('.', import.meta.url));
const callsDirectory = fileURLToPath(new URL('../../test/cases/captured/', import.meta.url));

const children = new Set();
const temporaryDirectories = new Set();

function start(command, args, options) {
  const child = spawn(command, args, options);
  children.add(child);
  child.errors = '';
  child.stderr.setEncoding('utf8').on('data', (text) => {
    child.errors = (child.errors + text).slice(-2000);
  });
  child.ended = new Promise((resolve) => {
    child.on('error', (error) => resolve({ reason: error.message }));
    child.on('close', (code, signal) => resolve({ ok: code === 0, reason: `ended with ${signal ?? code}: ${child.errors.trim()}` }));
  }).finally(() => children.delete(child));
  return child;
}

function withTimeout(promise, milliseconds, what) {
  let timer;
  const timeout = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: no answer after ${milliseconds / 1000} s`)), milliseconds);
  });
  return Promise.race([promise, timeout]).finally(() => clearTimeout(timer));
}

async function install(server, directory) {
  mkdirSync(directory);
  const dependencies = { [server.package]: server.version, ...server.pins };
  writeFileSync(join(directory, 'package.json'), JSON.stringify({ private: true, dependencies }));
  const npm = start('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd: directory,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const { ok, reason } = await withTimeout(npm.ended, installTimeout, 'npm install').finally(() => npm.kill('SIGKILL'));
  if (!ok) throw new Error(`npm install ${reason}`);

  const { bin } = JSON.parse(readFileSync(join(directory, 'node_modules', server.package, 'package.json'), 'utf8'));
  return join('node_modules', server.package, typeof bin === 'string' ? bin : Object.values(bin)[0]);
}

// Starts a server and returns the functions that talk JSON-RPC to it.
function connect(server, directory, program) {
  const child = start(
    'unshare',
    [...isolation, 'sh', '-c', startInside, 'sh', directory,
      process.execPath, join('/srv/server', program), ...(server.args ?? [])],
    { env: { PATH: process.env.PATH, HOME: '/srv/home', TZ: 'UTC', ...server.env } },
  );
  const waiting = new Map();
  let lastId = 0;

  const fail = (reason) => {
    for (const { reject } of waiting.values()) reject(new Error(reason));
    waiting.clear();
  };
  const send = (message) => child.stdin.write(JSON.stringify({ jsonrpc: '2.0', ...message }) + '\n');

  child.stdin.on('error', () => {}); // the end of the server is reported below
  child.ended.then(({ reason }) => fail(`server ${reason}`));
  createInterface({ input: child.stdout }).on('line', (line) => {
    if (!line.trim()) return;
    let message;
    try {
      message = JSON.parse(line);
    } catch {
      return fail(`server wrote something other than JSON: ${line.slice(0, 200)}`);
    }
    if (message.method) {
      if (message.id === undefined) return; // a notification
      if (message.method === 'ping') return send({ id: message.id, result: {} });
      return send({ id: message.id, error: { code: -32601, message: 'Method not found' } });
    }
    const request = waiting.get(message.id);
    if (!request) return;
    waiting.delete(message.id);
    if (message.error) request.reject(new Error(`${request.method}: ${message.error.message}`));
    else request.resolve(message.result);
  });

  return {
    notify: (method) => send({ method }),
    request: (method, params) => {
      const id = ++lastId;
      const answer = new Promise((resolve, reject) => waiting.set(id, { method, resolve, reject }));
      send({ id, method, params });
      return withTimeout(answer, requestTimeout, method);
    },
    stop: async () => {
      child.kill('SIGKILL');
      await child.ended;
    },
  };
}

async function listTools(client) {
  const tools = [];
  let cursor;
  do {
    const page = await client.request('tools/list', cursor === undefined ? {} : { cursor });
    tools.push(...page.tools);
    cursor = page.nextCursor;
  } while (cursor !== undefined);
  return tools;
}

function write(directory, name, value) {
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, `${name}.json`), JSON.stringify(value, null, 2) + '\n');
}

async function capture(server, withCalls) {
  const directory = mkdtempSync(join(tmpdir(), 'capture-'));
  temporaryDirectories.add(directory);
  let client;
  try {
    for (const name of ['home', 'files']) mkdirSync(join(directory, name));
    for (const [name, text] of Object.entries(sampleFiles)) writeFileSync(join(directory, 'files', name), text);
    const program = await install(server, join(directory, 'server'));
    client = connect(server, directory, program);

    const hello = await client.request('initialize', {
      protocolVersion,
      capabilities: {},
      clientInfo: { name: 'capture', version: '1.0.0' },
    });
    client.notify('notifications/initialized');
    const tools = await listTools(client);
    const results = [];
    for (const [tool, args] of withCalls ? server.calls ?? [] : []) {
      const result = await client.request('tools/call', { name: tool, arguments: args });
      results.push({ server: server.id, tool, arguments: args, result });
    }

    write(toolsDirectory, server.id, {
      server: server.id,
      package: server.package,
      version: server.version,
      protocolVersion: hello.protocolVersion,
      serverInfo: hello.serverInfo,
      tools,
    });
    for (const result of results) write(callsDirectory, `${server.id}.${result.tool}`, result);
    console.log(`${server.id} ${server.version}: ${tools.length} tools${withCalls ? `, ${results.length} calls` : ''}`);
  } finally {
    await client?.stop();
    removeDirectory(directory);
  }
}

function removeDirectory(directory) {
  rmSync(directory, { recursive: true, force: true, maxRetries: 5 });
  temporaryDirectories.delete(directory);
}

function fatal(message) {
  console.error(message);
  process.exit(2);
}

process.on('SIGINT', () => process.exit(130));
process.on('SIGTERM', () => process.exit(143));
process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL');
  for (const directory of temporaryDirectories) removeDirectory(directory);
});

const wantedArguments = process.argv.slice(2);
const withCalls = wantedArguments.includes('--calls');
const wanted = wantedArguments.filter((argument) => argument !== '--calls');
const unknown = wanted.filter((id) => !servers.some((server) => server.id === id));
if (unknown.length > 0) {
  fatal(`unknown server: ${unknown.join(', ')}\nknown servers: ${servers.map(({ id }) => id).join(', ')}`);
}

const trial = spawnSync('unshare', [...isolation, 'true'], { encoding: 'utf8' });
if (trial.status !== 0) {
  const reason = trial.error?.message ?? trial.stderr.trim();
  fatal(`cannot isolate a server from the network; this needs Linux, root and util-linux' unshare: ${reason}`);
}

for (const server of servers) {
  if (wanted.length > 0 && !wanted.includes(server.id)) continue;
  try {
    await capture(server, withCalls);
  } catch (error) {
    console.error(`${server.id} ${server.version}: FAILED: ${error.message}`);
    process.exitCode = 1;
  }
}
