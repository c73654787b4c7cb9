/* Client bindings (spec/04 §9): what is emitted, under which names; the same every time; errors and failing allocations. That the text compiles and works is shown by
 * tests/e2e/generate.py. */
#include "../../src/codegen/codegen.h"
#include "failures.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#define FIELD(name, type) "{\"name\":{\"some\":\"" name "\"},\"algebraic_type\":" type "}"
#define INDEX(name, columns) "{\"source_name\":{\"some\":\"" name "_idx\"},\"accessor_name\":{\"some\":\"" name "\"},\"algorithm\":{\"BTree\":" columns "}}"
#define TABLE(name, ref, key, indexes, unique, access, event) \
  "{\"source_name\":\"" name "\",\"product_type_ref\":" ref ",\"primary_key\":" key ",\"indexes\":[" indexes "],\"constraints\":[" unique "],\"sequences\":[],\"table_type\":{\"User\":[]}," \
  "\"table_access\":{\"" access "\":[]},\"default_values\":[],\"is_event\":" event "}"
#define UNIQUE0 "{\"source_name\":{\"none\":[]},\"data\":{\"Unique\":{\"columns\":[0]}}}"
#define REDUCER(name, params, visibility) \
  "{\"source_name\":\"" name "\",\"params\":{\"elements\":[" params "]},\"visibility\":{\"" visibility "\":[]},\"ok_return_type\":{\"Product\":{\"elements\":[]}},\"err_return_type\":{\"String\":[]}}"

static const char definition[] =
  "{\"sections\":[{\"Typespace\":{\"types\":[{\"Product\":{\"elements\":[" FIELD("id", "{\"U32\":[]}") "," FIELD("ownerName", "{\"String\":[]}") "," FIELD("kind", "{\"Ref\":1}") "]}},"
  "{\"Sum\":{\"variants\":[" FIELD("big", "{\"Product\":{\"elements\":[]}}") "," FIELD("small", "{\"Product\":{\"elements\":[]}}") "]}}]}},"
  "{\"Types\":[{\"source_name\":{\"scope\":[],\"source_name\":\"Item\"},\"ty\":0,\"custom_ordering\":true},{\"source_name\":{\"scope\":[],\"source_name\":\"Kind\"},\"ty\":1,\"custom_ordering\":true}]},"
  "{\"Tables\":[" TABLE("itemList", "0", "[0]", INDEX("id", "[0]"), UNIQUE0, "Public", "false") "," TABLE("hidden", "0", "[]", "", "", "Private", "false") "," TABLE("gone", "0", "[]", "", "", "Public", "true") "]},"
  "{\"Reducers\":[" REDUCER("setUp", "", "Private") "," REDUCER("addItem", FIELD("type", "{\"String\":[]}") "," FIELD("kind", "{\"Ref\":1}"), "ClientCallable") "," REDUCER("inner", "", "Private") "]},"
  "{\"LifeCycleReducers\":[{\"lifecycle_spec\":{\"Init\":[]},\"function_name\":\"setUp\"}]}]}";

static struct lc_module_def *read_definition(const char *json) {
  struct lc_module_def *def = NULL;
  struct lc_error err = {0};
  if (lc_module_def_from_json(lc_slice_str(json), &def, &err) != LC_OK) fail_msg("%s", err.text);
  return def;
}

static const struct lc_codegen_options public_only = {.cli_version = "2.14.0"}, everything = {.cli_version = "2.14.0", .include_private = true};

static const struct lc_codegen_file *find(const struct lc_codegen_output *out, const char *path) {
  for (const struct lc_codegen_file *f = out->files; f; f = f->next)
    if (strcmp(f->path, path) == 0) return f;
  return NULL;
}
static void expect_in(const struct lc_codegen_output *out, const char *path, const char *text) {
  const struct lc_codegen_file *f = find(out, path);
  if (!f) fail_msg("no file %s", path);
  if (memcmp(f->text.data, LC_CODEGEN_MARK, sizeof LC_CODEGEN_MARK - 1) != 0) fail_msg("%s does not begin with the mark", path);
  if (!memmem(f->text.data, f->text.len, text, strlen(text))) fail_msg("%s has no\n%s\nbut\n%.*s", path, text, (int)f->text.len, (char *)f->text.data);
}
static struct lc_codegen_output generate(enum lc_codegen_language language, const char *json, const struct lc_codegen_options *options) {
  struct lc_codegen_output out;
  struct lc_error err = {0};
  struct lc_module_def *def = read_definition(json);
  if (lc_codegen(language, def, options, &out, &err) != LC_OK) fail_msg("%s", err.text);
  lc_module_def_free(def);
  return out;
}

struct want { const char *path, *text; }; /* text NULL: there is no such file */
static void expect_files(enum lc_codegen_language language, const struct lc_codegen_options *options, const char *skipped, const struct want *want) {
  struct lc_codegen_output out = generate(language, definition, options);
  if (skipped) assert_string_equal(out.skipped_private_tables, skipped);
  else assert_null(out.skipped_private_tables);
  for (; want->path; want++) {
    if (want->text) expect_in(&out, want->path, want->text);
    else if (find(&out, want->path)) fail_msg("%s is there", want->path);
  }
  lc_codegen_output_free(&out);
}

static void test_typescript(void **state) {
  (void)state;
  static const struct want public_files[] = {
    {"item_list_table.ts", "  id: __t.u32().primaryKey(),\n  ownerName: __t.string().name(\"owner_name\"),\n  get kind() {\n    return Kind;\n  },\n"},
    {"types.ts", "export const Kind = __t.enum(\"Kind\", {\n  Big: __t.unit(),\n  Small: __t.unit(),\n});\nexport type Kind = __Infer<typeof Kind>;\n"},
    {"add_item_reducer.ts", "export default {\n  type: __t.string(),\n"},
    {"index.ts", "  itemList: __table({\n    name: \"item_list\",\n    indexes: [\n      { accessor: \"id\", name: \"item_list_id_idx_btree\", algorithm: \"btree\", columns: [\"id\"] },\n"},
    {"index.ts", "    event: true,\n"},
    {"index.ts", "cliVersion: \"2.14.0\" as const"},
    {"types/reducers.ts", "export type AddItemParams = __Infer<typeof AddItemReducer>;\n"},
    {"hidden_table.ts", NULL}, {"inner_reducer.ts", NULL}, {NULL, NULL}};
  static const struct want all_files[] = {{"hidden_table.ts", ""}, {"inner_reducer.ts", ""}, {"set_up_reducer.ts", NULL /* nobody can call it */}, {NULL, NULL}};
  expect_files(LC_CODEGEN_TYPESCRIPT, &public_only, "hidden", public_files);
  expect_files(LC_CODEGEN_TYPESCRIPT, &everything, NULL, all_files);
}

static void test_rust(void **state) {
  (void)state;
  static const struct want files[] = {
    {"item_type.rs", "pub struct Item {\n    pub id: u32,\n    pub owner_name: String,\n    pub kind: Kind,\n}\n"},
    {"kind_type.rs", "PartialEq, Debug, Copy, Eq, Hash)]\n#[sats(crate = __lib)]\npub enum Kind {\n    Big,\n    Small,\n}\n"},
    {"item_list_table.rs", "imp: self.imp.get_table::<Item>(\"item_list\"),\n"},
    {"item_list_table.rs", "_table.add_unique_constraint::<u32>(\"id\", |row| &row.id);\n"},
    {"gone_table.rs", "impl<'ctx> __sdk::EventTable for GoneTableHandle<'ctx>"},
    {"add_item_reducer.rs", "fn add_item_then(\n        &self,\n        r#type: String, kind: Kind, \n"},
    {"mod.rs", "            Reducer::AddItem { .. } => \"add_item\",\n"},
    {"mod.rs", "diff.gone = self.gone.into_event_diff();\n"},
    {"hidden_table.rs", NULL}, {NULL, NULL}};
  expect_files(LC_CODEGEN_RUST, &public_only, "hidden", files);
}

/* What a language has no form for is named. */
static void test_errors(void **state) {
  (void)state;
#define ONE_REDUCER(type) "{\"sections\":[{\"Typespace\":{\"types\":[]}},{\"Reducers\":[" REDUCER("f", FIELD("x", type), "ClientCallable") "]}]}"
  struct lc_module_def *def = read_definition(ONE_REDUCER("{\"Sum\":{\"variants\":[]}}")); /* a type without values */
  struct lc_codegen_output out;
  struct lc_error err = {0};
  assert_int_equal(lc_codegen(LC_CODEGEN_RUST, def, &public_only, &out, &err), LC_INVALID);
  assert_non_null(strstr(err.text, "Rust has no form for the type"));
  lc_codegen_output_free(&out);
  assert_int_equal(lc_codegen(LC_CODEGEN_TYPESCRIPT, def, &public_only, &out, &err), LC_OK);
  expect_in(&out, "f_reducer.ts", "  x: __t.never(),\n");
  lc_codegen_output_free(&out);
  lc_module_def_free(def);
  assert_int_equal(lc_module_def_from_json(lc_slice_str(ONE_REDUCER("{\"Product\":{\"elements\":[" FIELD("a", "{\"U8\":[]}") "]}}")), &def, &err), LC_INVALID);
  assert_non_null(strstr(err.text, "must be a named type"));
  static const char *const damaged[] = {"", "{", "[]", "{\"sections\":[{\"Nothing\":[]}]}", "{\"sections\":[{\"Types\":[{\"source_name\":1}]}]}", "{\"typespace\":{\"types\":[]}}", "{\"V10\":{\"sections\":7}}"};
  for (size_t i = 0; i < sizeof damaged / sizeof *damaged; i++) {
    err.text[0] = 0;
    assert_int_not_equal(lc_module_def_from_json(lc_slice_str(damaged[i]), &def, &err), LC_OK);
    assert_true(err.text[0] != 0);
  }
  def = read_definition("{\"V10\":{\"sections\":[{\"Typespace\":{\"types\":[]}}]}}"); /* as `extract-schema` prints it */
  lc_module_def_free(def);
}

/* Every allocation failing in turn: an error or, where nothing failed, the same text; nothing leaks. */
static void test_no_memory(void **state) {
  (void)state;
  static const enum lc_codegen_language languages[] = {LC_CODEGEN_TYPESCRIPT, LC_CODEGEN_RUST};
  for (size_t k = 0; k < sizeof languages / sizeof *languages; k++) {
    struct lc_codegen_output want = generate(languages[k], definition, &public_only);
    bool failed = true;
    for (long n = 0; failed; n = next_failure(n, 300, 20)) {
      struct lc_module_def *def = NULL;
      struct lc_codegen_output out = {0};
      struct lc_error err = {0};
      failures_begin(n);
      enum lc_status st = lc_module_def_from_json(lc_slice_str(definition), &def, &err);
      if (st == LC_OK) st = lc_codegen(languages[k], def, &public_only, &out, &err);
      failures_end();
      failed = failures_came();
      if (failed) {
        if (st != LC_NOMEM) fail_msg("with allocation %ld failing: %d %s", n, st, err.text);
      } else {
        assert_int_equal(st, LC_OK);
        const struct lc_codegen_file *a = want.files, *b = out.files;
        for (; a && b; a = a->next, b = b->next) assert_true(strcmp(a->path, b->path) == 0 && lc_slice_eq(lc_buf_slice(&a->text), lc_buf_slice(&b->text)));
        assert_true(!a && !b);
      }
      lc_codegen_output_free(&out);
      lc_module_def_free(def);
    }
    lc_codegen_output_free(&want);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_typescript), cmocka_unit_test(test_rust), cmocka_unit_test(test_errors), cmocka_unit_test(test_no_memory)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
