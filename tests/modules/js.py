"""JavaScript modules written by hand for the end-to-end tests: `raw`, a module on the bare `spacetime:sys@…` interface, and `player`, whose reducers, procedure, views
and handler run code that comes as data.
"""
import wat

V2 = '''table_id_from_name index_id_from_name datastore_table_row_count datastore_table_scan_bsatn datastore_index_scan_range_bsatn datastore_delete_by_index_scan_range_bsatn
datastore_index_scan_point_bsatn datastore_delete_by_index_scan_point_bsatn row_iter_bsatn_advance row_iter_bsatn_close datastore_insert_bsatn datastore_update_bsatn
datastore_delete_all_by_eq_bsatn volatile_nonatomic_schedule_immediate console_log console_timer_start console_timer_end identity get_jwt_payload procedure_http_request
procedure_start_mut_tx procedure_commit_mut_tx procedure_abort_mut_tx'''.split()


def bytes_js(b): return f'new Uint8Array([{",".join(str(x) for x in b)}])'


def raw(definition, hooks='', top='', imports=''):
    """hooks: members that take the place of those that do nothing; top: code of the module itself."""
    return f'''import {{ moduleHooks, {", ".join(V2)} }} from 'spacetime:sys@2.0';
import {{ datastore_clear }} from 'spacetime:sys@2.1';
import {{ env_get }} from 'spacetime:sys@2.2';
{imports}
const definition = {bytes_js(definition)};
class SenderError extends Error {{}}
class HostError extends Error {{ constructor(number, text) {{ super(text); this.number = number; }} }}
const text = (view, at = 0) => new TextDecoder().decode(new Uint8Array(view.buffer, view.byteOffset + at + 4, view.getUint32(at, true)));
const buffer = hex => Uint8Array.from(hex.match(/../g) ?? [], x => parseInt(x, 16)).buffer;
const hex = bytes => Array.from(bytes, x => x.toString(16).padStart(2, '0')).join('');
{top}
const nothing = {{ data: new Uint8Array([0, 0, 0, 0, 0]) }};
const hooks = {{
  __describe_module__() {{ return definition; }},
  __get_error_constructor__(number) {{ return class extends HostError {{ constructor(text) {{ super(number, text); }} }}; }},
  __sender_error_class__: SenderError,
  __call_reducer__() {{}}, __call_view__() {{ return nothing; }}, __call_view_anon__() {{ return nothing; }}, __call_procedure__() {{ return new Uint8Array(4); }},
  {hooks}
}};
export default {{ [moduleHooks]() {{ return hooks; }} }};
'''.encode()


TABLES = [wat.Table('person', 'id u32, name string, age u8', pk=0, auto=[0], indexes=[(wat.BTREE, 0), (wat.BTREE, 2), (wat.BTREE, 2, 1)]), wat.Table('blob', 'b string')]
PLAYER = wat.definition(TABLES, reducers=[('say', [('code', 'string')]), ('act', [('code', 'string')]), ('init', []), ('count', [])], procedures=[('ask', [('code', 'string')], 'string')],
                        views=[('seen', 0, True, [0])], lifecycle=[(wat.INIT, 'init')], handlers=['hand'], env=['KEY'])


def player(top=''):
    """say: runs code and fails with what it returns; act: runs code; count: fails with the number of calls of it in this isolate; ask: a procedure that returns what the code returns."""
    return raw(PLAYER, '''
  __call_reducer__(id, sender, conn, ts, args) {
    if (id === 3) throw new SenderError(String(++calls));
    if (id === 2) return;
    const code = new Function('api', 'sender', 'conn', 'ts', 'args', `with (api) { ${text(args)} }`);
    const result = code(api, sender, conn, ts, args);
    if (id === 0) throw new SenderError(String(result));
    return result;
  },
  __call_view_anon__() { return new Function('api', `with (api) { ${view.code} }`)(api); },
  __call_procedure__(id, sender, conn, ts, args) {
    const view = new DataView(args.buffer, args.byteOffset, args.byteLength);
    const result = new TextEncoder().encode(String(new Function('api', 'sender', 'conn', 'ts', `with (api) { ${text(view)} }`)(api, sender, conn, ts)));
    const out = new Uint8Array(4 + result.length);
    new DataView(out.buffer).setUint32(0, result.length, true);
    out.set(result, 4);
    return out;
  },
  __call_http_handler__(id, ts, request, body, sender, jwt) { return new Function('api', 'body', `with (api) { ${new TextDecoder().decode(body)} }`)(api, body); },
''', f'''let calls = 0;
const view = {{ code: 'return nothing' }};
const api = {{ {", ".join(V2)}, datastore_clear, env_get, SenderError, HostError, buffer, hex, text, nothing: {{ data: new Uint8Array([0, 0, 0, 0, 0]) }}, view, hooks: () => hooks }};
{top}''')
