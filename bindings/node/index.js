'use strict';
// Reads the answers of hither from shared memory. `lookup` stands in for dns.lookup, as the option `lookup` of
// net.connect, http.Agent and undici's connect. What the table does not have is left to dns.lookup.

const dns = require('node:dns');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

function load() {
  const places = ['build/Release/hither.node', 'hither.node'].map((place) => path.join(__dirname, place));
  const found = places.find((place) => fs.existsSync(place));
  if (!found) throw new Error('hither.node is not built, see README.md');
  return require(found);
}

const native = load();
const FAMILIES = { 0: 3, 4: 1, 6: 2, IPv4: 1, IPv6: 2 };
const CHECK_AFTER_MS = 1000;

// What is needed of /etc/hosts and /etc/resolv.conf, which are looked at once a second.
const system = { checked: 0, stamps: {}, hosts: new Set(), ndots: 1 };

function changed(file) {
  let stamp = '', text = '';
  try {
    const found = fs.statSync(file);
    stamp = `${found.ino} ${found.size} ${found.mtimeMs}`;
    if (stamp === system.stamps[file]) return undefined;
    if (found.isFile() && found.size < 16 << 20) text = fs.readFileSync(file, 'latin1');
  } catch {
    if (stamp === system.stamps[file]) return undefined;
  }
  system.stamps[file] = stamp;
  return text;
}

function namesOf(text) {
  const words = text.split('\n').flatMap((line) => line.split('#')[0].trim().split(/\s+/).slice(1));
  return new Set(words.map((word) => word.replace(/\.$/, '').toLowerCase()));
}

function dotsOf(text) {
  let ndots = 1;
  for (const line of text.split('\n')) {
    if (!/^options\s/.test(line)) continue;
    for (const [, value] of line.matchAll(/\sndots:(\d+)(?!\S)/g)) ndots = Number(value);
  }
  return Math.max(1, ndots);
}

function refresh() {
  const now = Date.now();
  if (Math.abs(now - system.checked) < CHECK_AFTER_MS) return;
  system.checked = now;
  const hosts = changed('/etc/hosts');
  if (hosts !== undefined) system.hosts = namesOf(hosts);
  const resolv = changed('/etc/resolv.conf');
  if (resolv !== undefined) system.ndots = dotsOf(`${resolv}\noptions ${process.env.RES_OPTIONS ?? ''}`);
}

// Whether a host is a name that the table may have, and that the system does not answer otherwise.
function mayBeInTable(host) {
  if (typeof host !== 'string' || host.length > 254 || !/^[A-Za-z0-9_][A-Za-z0-9_.-]*$/.test(host)) return false;
  const name = host.replace(/\.$/, '').toLowerCase();
  const last = name.slice(name.lastIndexOf('.') + 1);
  if (last === '' || last === 'localhost' || last === 'local' || /^(\d+|0x.*)$/.test(last)) return false;
  refresh();
  if (system.hosts.has(name) || name === os.hostname().toLowerCase()) return false;
  return host.endsWith('.') || name.split('.').length - 1 >= system.ndots;
}

// The addresses that the table has, or undefined: then, and for a denial, dns.lookup is asked.
function fromTable(host, options) {
  const families = FAMILIES[options.family ?? 0];
  if (!families || options.hints || !mayBeInTable(host)) return undefined;
  const found = native.lookup(host, families);
  if (!found || found.length === 0) return undefined;
  const order = options.order ?? (options.verbatim === false ? 'ipv4first' : 'verbatim');
  const first = { ipv4first: 4, ipv6first: 6 }[order];
  return first ? found.filter((one) => one.family === first).concat(found.filter((one) => one.family !== first)) : found;
}

/** As dns.lookup, from the table of hither where it has the answer. */
function lookup(hostname, options, callback) {
  if (typeof options === 'function') [options, callback] = [{}, options];
  const chosen = typeof options === 'number' || typeof options === 'string' ? { family: options } : (options ?? {});
  const found = typeof callback === 'function' ? fromTable(hostname, chosen) : undefined;
  if (!found) return dns.lookup(hostname, options, callback);
  if (chosen.all) process.nextTick(callback, null, found);
  else process.nextTick(callback, null, found[0].address, found[0].family);
  return undefined;
}

module.exports = { lookup, mayBeInTable, dotsOf, namesOf };
