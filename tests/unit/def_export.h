/* The exported schema of a module definition, read again: SATS-JSON of RawModuleDefV9 and V10 at their types (spec/01 §7.5, §11, §12, spec/07 §4.1).
 * Include cmocka.h first. */
#ifndef LC_DEF_EXPORT_H
#define LC_DEF_EXPORT_H
#include "types/types.h"

/* A type from a short text: `[T]` array, `?T` option, `(name:T,...)` product, `<Name:T|...>` sum, `@n` reference, or a letter for a
 * primitive; the metatypes below are spec/01 §11 word for word. */
static const struct lc_type *short_type(struct lc_arena *a, const char **p) {
  struct lc_type_field f[24];
  uint32_t n = 0;
  char c = *(*p)++;
  if (c == '[' || c == '?') {
    const struct lc_type *t = short_type(a, p);
    if (c == '?') return lc_type_new_option(a, t);
    assert_int_equal(*(*p)++, ']');
    return lc_type_new_array(a, t);
  }
  if (c == '(' || c == '<') {
    char end = c == '(' ? ')' : '>';
    while (**p != end) {
      size_t len = strcspn(*p, ":");
      assert_true(n < 24);
      f[n].name = lc_slice(*p, len);
      f[n].has_name = true;
      *p += len + 1;
      f[n++].type = short_type(a, p);
      if (**p == ',' || **p == '|') (*p)++;
    }
    (*p)++;
    return c == '(' ? lc_type_new_product(a, n, f) : lc_type_new_sum(a, n, f);
  }
  if (c == '@') {
    struct lc_type *t = lc_arena_alloc_zero(a, 1, sizeof *t);
    t->kind = LC_T_REF;
    t->static_size_bytes = LC_SIZE_DYNAMIC;
    t->ref = (uint32_t)(*(*p)++ - '0');
    return t;
  }
  static const struct { char c; enum lc_type_kind kind; } primitives[] = {{'s', LC_T_STRING}, {'b', LC_T_BOOL}, {'h', LC_T_U16}, {'w', LC_T_U32}, {'i', LC_T_I128}, {'y', LC_T_U8}, {'z', LC_T_U256}};
  for (size_t i = 0; i < sizeof primitives / sizeof *primitives; i++)
    if (primitives[i].c == c) return lc_type_primitive(primitives[i].kind);
  fail_msg("bad short type at %s", *p);
  return NULL;
}
static const struct lc_type *metatype(struct lc_arena *a, const char *text) { return short_type(a, &text); }

#define ELEMENTS "[(name:?s,algebraic_type:@0)]"
#define ALGEBRAIC                                                                                                                            \
  "<Ref:w|Sum:(variants:" ELEMENTS ")|Product:@1|Array:@0|String:()|Bool:()|I8:()|U8:()|I16:()|U16:()|I32:()|U32:()|I64:()|U64:()|I128:()|" \
  "U128:()|I256:()|U256:()|F32:()|F64:()>"
#define ALGORITHM "<BTree:[h]|Hash:[h]|Direct:h>"
#define UNIQUE "<Unique:(columns:[h])>"
#define SEQUENCE_TAIL "column:h,start:?i,min_value:?i,max_value:?i,increment:i"
#define ACCESS "table_type:<System:()|User:()>,table_access:<Public:()|Private:()>"
#define LIFECYCLE "<Init:()|OnConnect:()|OnDisconnect:()>"
#define VISIBILITY "<Private:()|ClientCallable:()>"
#define VIEW_TAIL "index:w,is_public:b,is_anonymous:b,params:@1,return_type:@0"
#define MAPPING "(source_name:s,canonical_name:s)"
static const char v9_metatype[] =
    "(typespace:(types:[@0]),tables:[(name:s,product_type_ref:w,primary_key:[h],indexes:[(name:?s,accessor_name:?s,algorithm:" ALGORITHM ")],"
    "constraints:[(name:?s,data:" UNIQUE ")],sequences:[(name:?s," SEQUENCE_TAIL ")],"
    "schedule:?(name:?s,reducer_name:s,scheduled_at_column:h)," ACCESS ")],reducers:[(name:s,params:@1,lifecycle:?" LIFECYCLE ")],"
    "types:[(name:(scope:[s],name:s),ty:w,custom_ordering:b)],"
    "misc_exports:[<ColumnDefaultValue:(table:s,col_id:h,value:[y])|Procedure:(name:s,params:@1,return_type:@0)|View:(name:s," VIEW_TAIL ")>],"
    "row_level_security:[(sql:s)])";
static const char v10_metatype[] =
    "(sections:[<Typespace:(types:[@0])|Types:[(source_name:(scope:[s],source_name:s),ty:w,custom_ordering:b)]|"
    "Tables:[(source_name:s,product_type_ref:w,primary_key:[h],indexes:[(source_name:?s,accessor_name:?s,algorithm:" ALGORITHM ")],"
    "constraints:[(source_name:?s,data:" UNIQUE ")],sequences:[(source_name:?s," SEQUENCE_TAIL ")]," ACCESS
    ",default_values:[(col_id:h,value:[y])],is_event:b)]|"
    "Reducers:[(source_name:s,params:@1,visibility:" VISIBILITY ",ok_return_type:@0,err_return_type:@0)]|"
    "Procedures:[(source_name:s,params:@1,return_type:@0,visibility:" VISIBILITY ")]|Views:[(source_name:s," VIEW_TAIL ")]|"
    "Schedules:[(source_name:?s,table_name:s,schedule_at_col:h,function_name:s)]|"
    "LifeCycleReducers:[(lifecycle_spec:" LIFECYCLE ",function_name:s)]|RowLevelSecurity:[(sql:s)]|CaseConversionPolicy:<None:()|SnakeCase:()>|"
    "ExplicitNames:(entries:[<Table:" MAPPING "|Function:" MAPPING "|Index:" MAPPING "|Namespace:" MAPPING ">])|HttpHandlers:[(source_name:s)]|"
    "HttpRoutes:[(handler_function:s,method:<Any:()|Method:<Get:()|Head:()|Post:()|Put:()|Delete:()|Connect:()|Options:()|Trace:()|Patch:()|"
    "Extension:s>>,path:s)]|ViewPrimaryKeys:[(view_source_name:s,columns:[s])]|Submodules:[(namespace:s,module:@2)]|"
    "Environment:[(name:s,ty:<String:()|StringLiteral:s|Union:[s]>,optional:b)]|"
    "Outboxes:[(table_name:s,remote_reducer:s,target_column:h,arg_columns:[h],on_result_reducer:?s,signature_hash:z)]>])";

static struct lc_module_def *decode(struct lc_slice raw) {
  struct lc_module_def *def;
  struct lc_error err = {0};
  if (lc_module_def_decode(raw, &def, &err) != LC_OK) fail_msg("%s", err.text);
  return def;
}
static void export_schema(const struct lc_module_def *def, unsigned version, struct lc_buf *out) {
  struct lc_error err = {0};
  lc_buf_clear(out);
  if (lc_module_def_json(def, version, out, &err) != LC_OK) fail_msg("%s", err.text);
  lc_buf_u8(out, 0);
  out->len--;
}

/* The export, read as what it claims to be, gives a definition whose export is the same text. */
static void expect_stable_export(struct lc_slice raw, unsigned version) {
  struct lc_arena a = {0};
  const struct lc_type *types[3] = {metatype(&a, ALGEBRAIC), metatype(&a, "(elements:" ELEMENTS ")"), metatype(&a, v10_metatype)};
  struct lc_typespace ts = {3, types};
  const struct lc_type *meta = version == 9 ? metatype(&a, v9_metatype) : types[2];
  struct lc_buf json = {0}, again = {0}, bsatn = {0};
  struct lc_error err = {0};
  struct lc_module_def *def = decode(raw);
  export_schema(def, version, &json);
  lc_module_def_free(def);
  lc_buf_u8(&bsatn, version == 9 ? 1 : 2);
  if (lc_json_parse_value(lc_buf_slice(&json), meta, &ts, &bsatn, &err) != LC_OK) fail_msg("%s: %s", err.text, (char *)json.data);
  struct lc_module_def *first = decode(raw);
  def = decode(lc_buf_slice(&bsatn));
  export_schema(def, version, &again);
  assert_string_equal((char *)json.data, (char *)again.data);
  assert_int_equal(def->n_reducers, version == 9 ? first->n_own_reducers : first->n_reducers);
  for (uint32_t i = 0; i < def->n_reducers; i++) { /* spec/07 §4.7 */
    struct lc_hash was, is;
    assert_int_equal(lc_reducer_signature(&first->reducers[i], &was, &err), LC_OK);
    assert_int_equal(lc_reducer_signature(&def->reducers[i], &is, &err), LC_OK);
    assert_memory_equal(was.bytes, is.bytes, sizeof was.bytes);
  }
  lc_module_def_free(first);
  lc_module_def_free(def);
  lc_buf_free(&json);
  lc_buf_free(&again);
  lc_buf_free(&bsatn);
  lc_arena_free(&a);
}

#endif
