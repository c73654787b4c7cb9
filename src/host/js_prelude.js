// What a module's globals have besides ECMAScript's (spec/02 §10 step 2), and the newer built-ins that this V8 may lack (spec/02 §14). Compiled into
// lightcone-v8.so; called once for each isolate, before the module. Everything here looks up what it needs when it starts: a module that tampers with its
// globals only hurts itself.
(function (encode, decode) {
  'use strict';
  const define = (target, name, value) => Object.defineProperty(target, name, { value, writable: true, enumerable: false, configurable: true });
  // Only what is missing; methods are not constructors and have their own name.
  const fill = (target, methods) => {
    for (const key of Reflect.ownKeys(methods)) if (!Object.hasOwn(target, key)) define(target, key, methods[key]);
  };

  define(globalThis, 'TextEncoder', class TextEncoder {
    get encoding() { return 'utf-8'; }
    encode(text = '') { return encode(text); }
  });
  define(globalThis, 'TextDecoder', class TextDecoder {
    #fatal;
    constructor(label = 'utf-8', options = undefined) {
      const name = String(label).trim().toLowerCase();
      if (name !== 'utf-8' && name !== 'utf8') throw new RangeError('The encoding label provided is invalid');
      if (options?.ignoreBOM) throw new TypeError("Option 'ignoreBOM' not supported");
      this.#fatal = Boolean(options?.fatal);
    }
    get encoding() { return 'utf-8'; }
    get fatal() { return this.#fatal; }
    get ignoreBOM() { return false; }
    decode(input = undefined, options = undefined) {
      if (options?.stream) throw new TypeError("Option 'stream' not supported");
      return decode(input, this.#fatal);
    }
  });

  Object.defineProperty(Math, 'random', {
    get() { throw new TypeError('Math.random is not available in SpacetimeDB modules. Use ctx.random instead.'); },
    enumerable: false,
    configurable: true,
  });

  for (const name of ['dispose', 'asyncDispose'])
    if (!(name in Symbol)) Object.defineProperty(Symbol, name, { value: Symbol(`Symbol.${name}`), writable: false, enumerable: false, configurable: false });

  const integer = value => {
    const n = Math.trunc(Number(value));
    return Number.isNaN(n) ? 0 : n;
  };

  // ---- arrays ----
  const copying = (make) => ({
    toReversed() { return make(this).reverse(); },
    toSorted(compare) {
      if (compare !== undefined && typeof compare !== 'function') throw new TypeError('The comparison function must be either a function or undefined');
      return make(this).sort(compare);
    },
    with(index, value) {
      const relative = integer(index);
      const at = relative < 0 ? this.length + relative : relative;
      if (!(at >= 0 && at < this.length)) throw new RangeError('Invalid index : ' + relative);
      const copy = make(this);
      copy[at] = value;
      return copy;
    },
  });
  fill(Array.prototype, copying(array => Array.from(array)));
  fill(Array.prototype, {
    toSpliced(start, deleteCount, ...items) {
      const copy = Array.from(this);
      if (arguments.length === 1) copy.splice(start);
      else if (arguments.length > 1) copy.splice(start, deleteCount, ...items);
      return copy;
    },
  });
  const TypedArray = Object.getPrototypeOf(Uint8Array);
  fill(TypedArray.prototype, copying(array => new array.constructor(array)));
  fill(Array, {
    async fromAsync(source, map = undefined, thisArg = undefined) {
      const result = typeof this === 'function' ? new this() : [];
      let i = 0;
      if (source[Symbol.asyncIterator] || source[Symbol.iterator]) {
        for await (const item of source) result[i] = map ? await map.call(thisArg, item, i) : item, i++;
      } else {
        for (; i < integer(source.length); i++) result[i] = map ? await map.call(thisArg, await source[i], i) : await source[i];
      }
      result.length = i;
      return result;
    },
  });

  // ---- grouping ----
  fill(Object, {
    groupBy(items, callback) {
      const groups = Object.create(null);
      let i = 0;
      for (const item of items) {
        const key = callback(item, i++);
        const name = typeof key === 'symbol' ? key : String(key);
        (groups[name] ??= []).push(item);
      }
      return groups;
    },
  });
  fill(Map, {
    groupBy(items, callback) {
      const groups = new Map();
      let i = 0;
      for (const item of items) {
        const key = callback(item, i++);
        const group = groups.get(key);
        if (group) group.push(item);
        else groups.set(key, [item]);
      }
      return groups;
    },
  });
  fill(Map.prototype, {
    getOrInsert(key, value) { return this.has(key) ? this.get(key) : (this.set(key, value), value); },
    getOrInsertComputed(key, callback) {
      if (this.has(key)) return this.get(key);
      const value = callback(key);
      this.set(key, value);
      return value;
    },
  });

  // ---- sets ----
  const setRecord = other => {
    if (Object(other) !== other) throw new TypeError('The argument must be an object');
    const size = Number(other.size);
    if (Number.isNaN(size)) throw new TypeError("The 'size' property must be a number");
    if (typeof other.has !== 'function') throw new TypeError("The 'has' property must be a function");
    if (typeof other.keys !== 'function') throw new TypeError("The 'keys' property must be a function");
    return { size: Math.trunc(size), has: value => Boolean(other.has(value)), *keys() { const it = other.keys(); for (let r; !(r = it.next()).done;) yield r.value; } };
  };
  fill(Set.prototype, {
    union(other) { const o = setRecord(other), result = new Set(this); for (const v of o.keys()) result.add(v); return result; },
    intersection(other) {
      const o = setRecord(other), result = new Set();
      if (this.size <= o.size) { for (const v of this) if (o.has(v)) result.add(v); }
      else { for (const v of o.keys()) if (this.has(v)) result.add(v); }
      return result;
    },
    difference(other) {
      const o = setRecord(other), result = new Set(this);
      if (this.size <= o.size) { for (const v of this) if (o.has(v)) result.delete(v); }
      else { for (const v of o.keys()) result.delete(v); }
      return result;
    },
    symmetricDifference(other) {
      const o = setRecord(other), result = new Set(this);
      for (const v of o.keys()) { if (this.has(v)) result.delete(v); else result.add(v); }
      return result;
    },
    isSubsetOf(other) {
      const o = setRecord(other);
      if (this.size > o.size) return false;
      for (const v of this) if (!o.has(v)) return false;
      return true;
    },
    isSupersetOf(other) {
      const o = setRecord(other);
      if (this.size < o.size) return false;
      for (const v of o.keys()) if (!this.has(v)) return false;
      return true;
    },
    isDisjointFrom(other) {
      const o = setRecord(other);
      if (this.size <= o.size) { for (const v of this) if (o.has(v)) return false; }
      else { for (const v of o.keys()) if (this.has(v)) return false; }
      return true;
    },
  });

  // ---- iterators ----
  const iteratorPrototype = Object.getPrototypeOf(Object.getPrototypeOf([][Symbol.iterator]()));
  if (typeof globalThis.Iterator === 'undefined') {
    const Iterator = function Iterator() {
      if (new.target === undefined || new.target === Iterator) throw new TypeError('Abstract class Iterator not directly constructable');
    };
    Object.defineProperty(Iterator, 'prototype', { value: iteratorPrototype, writable: false });
    define(globalThis, 'Iterator', Iterator);
    define(iteratorPrototype, 'constructor', Iterator);
    Object.defineProperty(iteratorPrototype, Symbol.toStringTag, { value: 'Iterator', writable: true, configurable: true });
  }
  // The iterator's own next, read once; closing calls its return.
  const direct = iterator => {
    if (Object(iterator) !== iterator) throw new TypeError('Iterator.prototype method called on incompatible receiver');
    return { iterator, next: iterator.next };
  };
  const step = d => {
    const result = d.next.call(d.iterator);
    if (Object(result) !== result) throw new TypeError('Iterator result is not an object');
    return result;
  };
  const close = d => { d.iterator.return?.(); };
  const callable = (d, f) => {
    if (typeof f === 'function') return f;
    close(d);
    throw new TypeError(`${String(f)} is not a function`);
  };
  const count = (d, limit) => {
    const n = Number(limit);
    if (Number.isNaN(n) || n < 0) { close(d); throw new RangeError(`${String(limit)} must be positive`); }
    return Math.trunc(n);
  };
  // Runs body, a generator function, so that an early end closes the iterator underneath.
  const helper = (d, body) => (function* () {
    let finished = false;
    try {
      yield* body(() => { const r = step(d); if (r.done) finished = true; return r; });
      // a body that returns before the end leaves `finished` unset
    } catch (error) {
      if (!finished) { finished = true; try { close(d); } catch { /* the first error counts */ } }
      throw error;
    } finally {
      if (!finished) close(d);
    }
  })();
  fill(iteratorPrototype, {
    map(f) {
      const d = direct(this); callable(d, f);
      return helper(d, function* (next) { for (let r, i = 0; !(r = next()).done;) yield f(r.value, i++); });
    },
    filter(f) {
      const d = direct(this); callable(d, f);
      return helper(d, function* (next) { for (let r, i = 0; !(r = next()).done;) if (f(r.value, i++)) yield r.value; });
    },
    take(limit) {
      const d = direct(this), n = count(d, limit);
      return helper(d, function* (next) { for (let i = 0, r; i < n && !(r = next()).done; i++) yield r.value; });
    },
    drop(limit) {
      const d = direct(this), n = count(d, limit);
      return helper(d, function* (next) { for (let r, i = 0; !(r = next()).done; i++) if (i >= n) yield r.value; });
    },
    flatMap(f) {
      const d = direct(this); callable(d, f);
      return helper(d, function* (next) {
        for (let r, i = 0; !(r = next()).done;) {
          const inner = f(r.value, i++);
          if (Object(inner) !== inner) throw new TypeError(`${String(inner)} is not an object`);
          if (typeof inner[Symbol.iterator] === 'function') yield* inner;
          else yield* { [Symbol.iterator]: () => inner };
        }
      });
    },
    reduce(f, ...initial) {
      const d = direct(this); callable(d, f);
      let value, i = 0;
      if (initial.length) value = initial[0];
      else {
        const r = step(d);
        if (r.done) throw new TypeError('Reduce of a done iterator with no initial value');
        value = r.value; i = 1;
      }
      for (let r; !(r = step(d)).done;) { try { value = f(value, r.value, i++); } catch (error) { try { close(d); } catch { /* the first error counts */ } throw error; } }
      return value;
    },
    toArray() { const d = direct(this), out = []; for (let r; !(r = step(d)).done;) out.push(r.value); return out; },
    forEach(f) {
      const d = direct(this); callable(d, f);
      for (let r, i = 0; !(r = step(d)).done;) { try { f(r.value, i++); } catch (error) { try { close(d); } catch { /* the first error counts */ } throw error; } }
    },
    some(f) { return search(this, f, true, false, () => true); },
    every(f) { return search(this, f, false, true, () => false); },
    find(f) { return search(this, f, true, undefined, value => value); },
  });
  // Ends where f's truth is `wanted`.
  function search(self, f, wanted, otherwise, answer) {
    const d = direct(self); callable(d, f);
    for (let r, i = 0; !(r = step(d)).done;) {
      let found;
      try { found = Boolean(f(r.value, i++)) === wanted; } catch (error) { try { close(d); } catch { /* the first error counts */ } throw error; }
      if (found) { close(d); return answer(r.value); }
    }
    return otherwise;
  }
  fill(globalThis.Iterator, {
    from(source) {
      if (Object(source) !== source && typeof source !== 'string') throw new TypeError(`${String(source)} is not an object`);
      const method = source[Symbol.iterator];
      const iterator = typeof method === 'function' ? method.call(source) : source;
      if (iterator instanceof globalThis.Iterator) return iterator;
      const d = direct(iterator);
      return Object.setPrototypeOf({ next: () => d.next.call(iterator), return: () => iterator.return ? iterator.return() : { value: undefined, done: true } }, iteratorPrototype);
    },
    *concat(...sources) { for (const source of sources) yield* source; },
  });

  // ---- promises ----
  fill(Promise, {
    withResolvers() {
      let resolve, reject;
      const promise = new this((a, b) => { resolve = a; reject = b; });
      return { promise, resolve, reject };
    },
    try(f, ...args) { return new this(resolve => resolve(f(...args))); },
  });

  // ---- strings, regular expressions, errors ----
  const lone = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;
  fill(String.prototype, {
    isWellFormed() { return String(this).search(lone) < 0; },
    toWellFormed() { return String(this).replace(lone, '\ufffd'); },
  });
  fill(RegExp, {
    escape(text) {
      if (typeof text !== 'string') throw new TypeError('RegExp.escape: argument must be a string');
      const hex = c => c.charCodeAt(0) < 256 ? '\\x' + c.charCodeAt(0).toString(16).padStart(2, '0') : '\\u' + c.charCodeAt(0).toString(16).padStart(4, '0');
      return text
        .replace(/[\^$\\.*+?()[\]{}|/]|[,\-=<>#&!%:;@~'`"]|[\t\n\v\f\r\s\u2028\u2029]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g, c => {
          if (/[\^$\\.*+?()[\]{}|/]/.test(c)) return '\\' + c;
          const control = { '\t': '\\t', '\n': '\\n', '\v': '\\v', '\f': '\\f', '\r': '\\r' }[c];
          return control ?? hex(c);
        })
        .replace(/^[0-9a-zA-Z]/, hex);
    },
  });
  fill(Error, { isError(value) { return value instanceof Error || Object.prototype.toString.call(value) === '[object Error]'; } });

  // ---- bytes ----
  fill(ArrayBuffer.prototype, {
    transfer(length = this.byteLength) {
      const size = integer(length), copy = new ArrayBuffer(size);
      new Uint8Array(copy).set(new Uint8Array(this, 0, Math.min(size, this.byteLength)));
      return copy;
    },
    transferToFixedLength(length = this.byteLength) { return this.transfer(length); },
  });
  const digits = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';
  fill(Uint8Array, {
    fromHex(text) {
      if (typeof text !== 'string') throw new TypeError('Uint8Array.fromHex: argument must be a string');
      if (text.length % 2 || /[^0-9a-fA-F]/.test(text)) throw new SyntaxError('Input string must contain hex characters in even length');
      const out = new Uint8Array(text.length / 2);
      for (let i = 0; i < out.length; i++) out[i] = parseInt(text.slice(2 * i, 2 * i + 2), 16);
      return out;
    },
    fromBase64(text, options = {}) {
      if (typeof text !== 'string') throw new TypeError('Uint8Array.fromBase64: argument must be a string');
      const alphabet = digits + (options.alphabet === 'base64url' ? '-_' : '+/');
      const clean = text.replace(/[\t\n\f\r ]/g, '').replace(/={1,2}$/, '');
      if (clean.length % 4 === 1) throw new SyntaxError('The base64 input terminates with a single character');
      const out = new Uint8Array(Math.floor(clean.length * 3 / 4));
      let bits = 0, value = 0, at = 0;
      for (const c of clean) {
        const digit = alphabet.indexOf(c);
        if (digit < 0) throw new SyntaxError('Found a character that cannot be part of a valid base64 string.');
        value = (value << 6 | digit) & 0xffffff;
        bits += 6;
        if (bits >= 8) out[at++] = value >> (bits -= 8) & 255;
      }
      return out;
    },
  });
  fill(Uint8Array.prototype, {
    toHex() { let out = ''; for (const byte of this) out += byte.toString(16).padStart(2, '0'); return out; },
    toBase64(options = {}) {
      const alphabet = digits + (options.alphabet === 'base64url' ? '-_' : '+/');
      let out = '';
      for (let i = 0; i < this.length; i += 3) {
        const left = this.length - i, n = this[i] << 16 | (this[i + 1] ?? 0) << 8 | (this[i + 2] ?? 0);
        for (let k = 0; k < 4; k++) out += k <= left ? alphabet[n >> (18 - 6 * k) & 63] : options.omitPadding ? '' : '=';
      }
      return out;
    },
  });
})
