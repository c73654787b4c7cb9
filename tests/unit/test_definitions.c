/* Module definitions: runs tests/conformance/definitions.case, whose head explains its lines (what a definition is made of: def_raw.h), and
 * attacks with what it finds there: every definition cut at each byte, damaged, and with every allocation failing in turn; every export read again.
 *
 * HEX=1 prints every definition as "NAME HEX", for use elsewhere. FUZZ_SECONDS=n SEED=n: damage for longer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "def_export.h"
#include "def_raw.h"
#include <time.h>

enum { MAX_CASES = 1000, MAX_LINE = 1 << 16 };
static struct { char name[80]; struct lc_slice raw; bool ok; } cases[MAX_CASES];
static uint32_t n_cases, line_no, n_failures;
#define complain(...) (now.wrong = true, print_error("definitions.case:%u (%s): ", line_no, cases[n_cases].name), print_error(__VA_ARGS__), print_error("\n"), n_failures++)
#define S(s) (int)(s).len, (const char *)(s).data

/* ---- a definition in words ---- */

static void put_type(struct lc_buf *out, const struct lc_type *t) { lc_type_display(out, t); }
static void put_named(struct lc_buf *out, struct lc_slice name, struct lc_slice accessor) {
  lc_buf_slice_append(out, name);
  if (!lc_slice_eq(name, accessor)) lc_buf_printf(out, " (%.*s)", S(accessor));
}
static void put_columns(struct lc_buf *out, const struct lc_table_def *t, uint32_t n, const uint16_t *columns) {
  for (uint32_t i = 0; i < n; i++) lc_buf_printf(out, "%s%.*s", i ? "," : " ", S(t->columns[columns[i]].name));
}
static void put_hex(struct lc_buf *out, const void *bytes, size_t n) {
  for (size_t i = 0; i < n; i++) lc_buf_printf(out, "%02x", ((const uint8_t *)bytes)[i]);
}
static void put_column_defs(struct lc_buf *out, struct lc_slice of, uint32_t n, const struct lc_column_def *columns) {
  for (uint32_t i = 0; i < n; i++) {
    lc_buf_printf(out, "column %.*s.", S(of));
    put_named(out, columns[i].name, columns[i].accessor);
    lc_buf_u8(out, ' ');
    put_type(out, columns[i].type);
    if (columns[i].has_default) lc_buf_str(out, " = ");
    put_hex(out, columns[i].default_bsatn.data, columns[i].default_bsatn.len);
    lc_buf_u8(out, '\n');
  }
}
static void put_table(struct lc_buf *out, const struct lc_table_def *t) {
  static const char *const kinds[] = {"btree", "hash", "direct"};
  lc_buf_str(out, "table ");
  put_named(out, t->name, t->accessor);
  lc_buf_printf(out, " &%u", t->type_ref);
  if (t->primary_key >= 0) lc_buf_printf(out, " pk %.*s", S(t->columns[t->primary_key].name));
  lc_buf_printf(out, "%s%s%s", t->is_public ? "" : " private", t->is_system ? " system" : "", t->is_event ? " event" : "");
  if (t->mount.len) lc_buf_printf(out, " in %.*s", S(t->mount));
  lc_buf_u8(out, '\n');
  put_column_defs(out, t->name, t->n_columns, t->columns);
  for (uint32_t i = 0; i < t->n_indexes; i++) {
    const struct lc_index_def *x = &t->indexes[i];
    lc_buf_str(out, "index ");
    put_named(out, x->name, x->source_name);
    lc_buf_printf(out, " %s", kinds[x->kind]);
    put_columns(out, t, x->n_columns, x->columns);
    if (x->accessor.data) lc_buf_printf(out, " as %.*s", S(x->accessor));
    lc_buf_u8(out, '\n');
  }
  for (uint32_t i = 0; i < t->n_constraints; i++) {
    lc_buf_printf(out, "unique %.*s", S(t->constraints[i].name));
    put_columns(out, t, t->constraints[i].n_columns, t->constraints[i].columns);
    lc_buf_u8(out, '\n');
  }
  for (uint32_t i = 0; i < t->n_sequences; i++) {
    lc_buf_printf(out, "sequence %.*s", S(t->sequences[i].name));
    put_columns(out, t, 1, &t->sequences[i].column);
    lc_buf_u8(out, '\n');
  }
  if (t->has_schedule)
    lc_buf_printf(out, "schedule %.*s %.*s %s %.*s\n", S(t->schedule_name), S(t->columns[t->schedule_at_column].name), t->schedule_is_procedure ? "procedure" : "reducer", S(t->schedule_function));
}
static void put_functions(struct lc_buf *out, const char *what, uint32_t n, const struct lc_function_def *functions) {
  static const char *const events[] = {"", " init", " connect", " disconnect"};
  for (uint32_t i = 0; i < n; i++) {
    const struct lc_function_def *f = &functions[i];
    lc_buf_printf(out, "%s %u ", what, i);
    put_named(out, f->name, f->accessor);
    lc_buf_u8(out, ' ');
    put_type(out, f->canonical_params);
    if (*what == 'p') lc_buf_str(out, " -> "), put_type(out, f->ok_type);
    lc_buf_printf(out, "%s%s\n", f->is_private ? " private" : "", events[f->lifecycle]);
  }
}
static void describe(struct lc_buf *out, const struct lc_module_def *def) {
  lc_buf_printf(out, "version %d\n", def->raw_version);
  for (uint32_t i = 0; i < def->typespace.n; i++) {
    lc_buf_printf(out, "slot %u ", i);
    put_type(out, def->typespace.types[i]);
    lc_buf_u8(out, '\n');
  }
  for (uint32_t i = 0; i < def->n_types; i++) {
    lc_buf_str(out, "type ");
    for (uint32_t k = 0; k < def->types[i].n_scope; k++) lc_buf_printf(out, "%.*s::", S(def->types[i].scope[k]));
    lc_buf_printf(out, "%.*s &%u\n", S(def->types[i].name), def->types[i].type_ref);
  }
  for (uint32_t i = 0; i < def->n_tables; i++) put_table(out, &def->tables[i]);
  put_functions(out, "reducer", def->n_reducers, def->reducers);
  put_functions(out, "procedure", def->n_procedures, def->procedures);
  for (uint32_t i = 0; i < def->n_views; i++) {
    const struct lc_view_def *v = &def->views[i];
    lc_buf_str(out, "view ");
    put_named(out, v->name, v->accessor);
    lc_buf_printf(out, " %u ", v->fn_index);
    put_type(out, v->canonical_params);
    lc_buf_str(out, " -> ");
    put_type(out, v->return_type);
    if (v->primary_key >= 0) lc_buf_printf(out, " pk %.*s", S(v->columns[v->primary_key].name));
    lc_buf_printf(out, "%s%s%s\n", v->is_public ? "" : " private", v->is_anonymous ? "" : " sender", v->is_query ? " query" : "");
    put_column_defs(out, v->name, v->n_columns, v->columns);
  }
  for (uint32_t i = 0; i < def->n_rls; i++) lc_buf_printf(out, "rls %.*s\n", S(def->rls_sql[i]));
  for (uint32_t i = 0; i < def->n_http_handlers; i++) {
    lc_buf_printf(out, "handler %u ", i);
    put_named(out, def->http_handler_names[i], def->http_handlers[i]);
    lc_buf_u8(out, '\n');
  }
  for (uint32_t i = 0; i < def->n_http_routes; i++) lc_buf_printf(out, "route %d %.*s \"%.*s\"\n", (int)def->http_routes[i].method, S(def->http_routes[i].handler), S(def->http_routes[i].path));
  for (uint32_t i = 0; i < def->n_env; i++) {
    static const char *const kinds[] = {"string", "literal", "union"};
    lc_buf_printf(out, "env %.*s %s", S(def->env[i].name), kinds[def->env[i].kind]);
    for (uint32_t k = 0; k < def->env[i].n_literals; k++) lc_buf_printf(out, " %.*s", S(def->env[i].literals[k]));
    lc_buf_str(out, def->env[i].optional ? " optional\n" : "\n");
  }
  for (uint32_t i = 0; i < def->n_outboxes; i++) {
    const struct lc_outbox_def *o = &def->outboxes[i];
    lc_buf_printf(out, "outbox %.*s %.*s %u on %d ", S(o->table), S(o->remote_reducer), o->target_column, o->on_result);
    put_hex(out, o->signature.bytes, sizeof o->signature.bytes);
    lc_buf_u8(out, '\n');
  }
  for (uint32_t i = 0; i < def->n_submodules; i++) {
    lc_buf_str(out, "module ");
    put_named(out, def->submodules[i].name, def->submodules[i].accessor);
    lc_buf_u8(out, '\n');
  }
}

/* ---- the case file ---- */

static struct {
  struct lc_module_def *def;
  struct lc_error err;
  char *faults; /* what is left of them to be named */
  bool begun, wrong;
  struct lc_buf text; /* the definition in words */
} now;

static void begin(struct raw_def *d) {
  struct lc_buf raw = {0};
  raw_finish(d, &raw);
  cases[n_cases].raw = lc_buf_slice(&raw);
  if (getenv("HEX")) {
    printf("%s ", cases[n_cases].name);
    for (size_t i = 0; i < raw.len; i++) printf("%02x", raw.data[i]);
    puts("");
  }
  now.begun = true;
  cases[n_cases].ok = lc_module_def_decode(lc_buf_slice(&raw), &now.def, &now.err) == LC_OK;
  if (!cases[n_cases].ok) now.def = NULL;
  else describe(&now.text, now.def);
  lc_buf_u8(&now.text, 0);
  if (!now.def && strncmp(now.err.text, "Errors occurred:\n", 17) == 0) now.faults = now.err.text + 17;
}
static void end(void) {
  if (!now.begun) return;
  if (now.faults && *now.faults && !now.wrong) complain("not expected: %s", now.faults);
  lc_module_def_free(now.def);
  lc_buf_free(&now.text);
  memset(&now, 0, sizeof now);
  n_cases++;
  assert_true(n_cases < MAX_CASES);
}

static bool has_line(const char *line) {
  size_t n = strlen(line);
  for (const char *p = (char *)now.text.data; *p; p = strchr(p, '\n') + 1)
    if (strncmp(p, line, n) == 0 && p[n] == '\n') return true;
  return false;
}

/* The text of a section of the V10 export, found by its key at the right depth. NULL: there is none. */
static char *section_of(char *json, const char *name) {
  char key[64];
  size_t n = (size_t)snprintf(key, sizeof key, "{\"%s\":", name);
  int depth = 0;
  bool quoted = false;
  for (char *p = json; *p; p++) {
    if (quoted && *p == '\\') p++;
    else if (*p == '"') quoted = !quoted;
    if (quoted) continue;
    if (*p == '{' || *p == '[') {
      if (depth++ == 2 && strncmp(p, key, n) == 0) {
        char *from = p + n, *to = from;
        for (int inner = 1; inner; to++) {
          if (quoted && *to == '\\') to++;
          else if (*to == '"') quoted = !quoted;
          else if (!quoted && (*to == '{' || *to == '[')) inner++;
          else if (!quoted && (*to == '}' || *to == ']')) inner--;
        }
        to[-1] = 0;
        return from;
      }
    } else if (*p == '}' || *p == ']') depth--;
  }
  return NULL;
}

static void expect_export(const char *line) {
  struct lc_buf out = {0};
  const char *want = strchr(line, ' ');
  char name[64];
  snprintf(name, sizeof name, "%.*s", (int)(want - line), line);
  want++;
  export_schema(now.def, strcmp(name, "v9") == 0 ? 9 : 10, &out);
  char *got = (char *)out.data;
  if (name[0] != 'v') got = section_of(got, name);
  if (strcmp(want, "-") == 0 ? got != NULL : !got || strcmp(got, want) != 0) complain("%s is exported as\n%s\nnot\n%s", name, got ? got : "-", want);
  lc_buf_free(&out);
}

static void expect(char *line) {
  char *rest = strchr(line, ' ');
  if (rest) *rest++ = 0;
  if (strcmp(line, "fault") == 0) {
    size_t n = strlen(rest);
    if (!now.faults) complain("%s instead of fault %s", now.def ? "accepted" : now.err.text, rest);
    else if (strncmp(now.faults, rest, n) != 0 || now.faults[n] != '\n') complain("expected fault %s\nbut next is %s", rest, now.faults);
    else now.faults += n + 1;
    return;
  }
  if (strcmp(line, "error") == 0) {
    for (char *p = rest; (p = strstr(p, "\\n")); p++) { /* \n: a line's end */
      *p = '\n';
      memmove(p + 1, p + 2, strlen(p + 2) + 1);
    }
    if (now.def) complain("accepted instead of %s", rest);
    else if (strcmp(now.err.text, rest) != 0) complain("error %s\ninstead of %s", now.err.text, rest);
    now.faults = NULL;
    return;
  }
  if (!now.def) {
    complain("refused: %s", now.err.text);
  } else if (strcmp(line, "has") == 0) {
    if (!has_line(rest)) complain("no line '%s' in\n%s", rest, (char *)now.text.data);
  } else if (strcmp(line, "hasnt") == 0) {
    if (has_line(rest)) complain("there is a line '%s'", rest);
  } else if (strcmp(line, "export") == 0) {
    expect_export(rest);
  } else if (strcmp(line, "signature") == 0) {
    char *hex = strchr(rest, ' '), got[65] = "";
    struct lc_hash hash;
    *hex++ = 0;
    for (uint32_t i = 0; i < now.def->n_reducers; i++)
      if (lc_slice_eq_str(now.def->reducers[i].name, rest) && lc_reducer_signature(&now.def->reducers[i], &hash, NULL) == LC_OK) lc_hex_encode(hash.bytes, 32, got), got[64] = 0;
    if (strcmp(got, hex) != 0) complain("signature %s", got);
  } else {
    assert_string_equal(line, "ok");
  }
}

static void test_cases(void **state) {
  (void)state;
  static const char *const expectations[] = {"ok", "fault", "error", "has", "hasnt", "export", "signature"};
  static char line[MAX_LINE];
  struct raw_def *d = NULL;
  FILE *f = fopen("tests/conformance/definitions.case", "r");
  assert_non_null(f);
  while (fgets(line, sizeof line, f)) {
    char *p = line + strspn(line, " ");
    p[strcspn(p, "\n")] = 0;
    line_no++;
    if (!*p || *p == '#') continue;
    if (strncmp(p, "def ", 4) == 0) {
      char *version = strrchr(p, ' ');
      bool old = version != p + 3 && (strcmp(version, " v8") == 0 || strcmp(version, " v9") == 0);
      if (d) begin(d);
      end();
      if (old) *version = 0;
      snprintf(cases[n_cases].name, sizeof cases->name, "%s", p + 4);
      d = raw_new(old ? version[2] - '0' : 10, NULL, "");
      continue;
    }
    bool expectation = false;
    for (size_t i = 0; i < sizeof expectations / sizeof *expectations; i++) {
      size_t n = strlen(expectations[i]);
      expectation |= strncmp(p, expectations[i], n) == 0 && (p[n] == ' ' || !p[n]);
    }
    if (!expectation) {
      if (!d) fail_msg("definitions.case:%u: '%s' does not belong to a definition", line_no, p);
      raw_line(&d, p);
      continue;
    }
    if (d) begin(d);
    d = NULL;
    if (!now.wrong) expect(p);
  }
  end();
  assert_null(d);
  fclose(f);
  print_message("%u definitions\n", n_cases);
  assert_int_equal(n_failures, 0);
  assert_true(n_cases > 150);
}

/* ---- attacks ---- */

static uint32_t seed = 1;
static uint32_t rnd(uint32_t n) {
  seed ^= seed << 13;
  seed ^= seed >> 17;
  seed ^= seed << 5;
  return seed % n;
}

/* Whatever is decoded can be described, exported and hashed. */
static void use(struct lc_slice raw, struct lc_buf *room) {
  struct lc_module_def *def;
  struct lc_error err = {0};
  if (lc_module_def_decode(raw, &def, &err) != LC_OK) {
    if (!err.text[0] || !lc_utf8_valid((uint8_t *)err.text, strlen(err.text))) fail_msg("an error that is no text: %s", err.text);
    return;
  }
  struct lc_hash hash;
  lc_buf_clear(room);
  describe(room, def);
  if (lc_module_def_json(def, 9, room, &err) != LC_OK || lc_module_def_json(def, 10, room, &err) != LC_OK) fail_msg("%s", err.text);
  if (!lc_utf8_valid(room->data, room->len)) fail_msg("an export that is no text");
  for (uint32_t i = 0; i < def->n_reducers; i++) lc_reducer_signature(&def->reducers[i], &hash, &err);
  lc_module_def_free(def);
}

static void test_exports_read_again(void **state) {
  (void)state;
  for (uint32_t i = 0; i < n_cases; i++) {
    struct lc_module_def *def;
    if (!cases[i].ok) continue;
    def = decode(cases[i].raw);
    int version = def->raw_version;
    lc_module_def_free(def);
    expect_stable_export(cases[i].raw, 9);
    if (version == 10) expect_stable_export(cases[i].raw, 10);
  }
}

static void test_cut(void **state) { /* a copy of its own for each length: AddressSanitizer sees a byte too far */
  (void)state;
  struct lc_buf room = {0};
  for (uint32_t i = 0; i < n_cases; i++) {
    if (cases[i].raw.len > 4000) continue;
    for (size_t n = 0; n < cases[i].raw.len; n++) {
      uint8_t *copy = malloc(n ? n : 1);
      memcpy(copy, cases[i].raw.data, n);
      use(lc_slice(copy, n), &room);
      free(copy);
    }
  }
  lc_buf_free(&room);
}

static void damage(struct lc_buf *b) {
  static const uint32_t numbers[] = {0, 1, 2, 255, 256, 65535, 65536, 0x7fffffff, 0x80000000, 0xffffffff};
  switch (rnd(6)) {
  case 0: b->data[rnd((uint32_t)b->len)] = (uint8_t)rnd(256); break;
  case 1: b->data[rnd((uint32_t)b->len)] = (uint8_t)rnd(0x12); break;
  case 2: b->data[rnd((uint32_t)b->len)] ^= (uint8_t)(1u << rnd(8)); break;
  case 3: if (b->len >= 4) memcpy(b->data + rnd((uint32_t)b->len - 3), &numbers[rnd(10)], 4); break;
  case 4: { /* a piece twice */
    uint32_t at = rnd((uint32_t)b->len), n = rnd((uint32_t)b->len - at) % 64 + 1;
    if (at + n > b->len || !lc_buf_reserve(b, n)) break;
    memmove(b->data + at + n, b->data + at, b->len - at);
    b->len += n;
    break;
  }
  default: { /* a piece gone */
    uint32_t at = rnd((uint32_t)b->len), n = rnd((uint32_t)b->len - at) % 16 + 1;
    if (at + n >= b->len) break;
    memmove(b->data + at, b->data + at + n, b->len - at - n);
    b->len -= n;
  }
  }
}

static void test_damaged(void **state) {
  (void)state;
  struct lc_buf room = {0}, b = {0};
  const char *seconds = getenv("FUZZ_SECONDS"), *from = getenv("SEED");
  time_t until = time(NULL) + (seconds ? atoi(seconds) : 4);
  uint64_t runs = 0;
  for (uint32_t n = from ? (uint32_t)strtoul(from, NULL, 0) : 1; time(NULL) < until; n++, runs++) {
    seed = n * 2654435761u | 1;
    lc_buf_clear(&b);
    uint32_t pick = rnd(n_cases + 1);
    if (pick == n_cases || cases[pick].raw.len == 0 || cases[pick].raw.len > 4000) { /* only the version is right */
      lc_buf_u8(&b, (uint8_t)rnd(3));
      for (uint32_t k = rnd(300); k; k--) lc_buf_u8(&b, (uint8_t)(rnd(3) ? rnd(4) : rnd(256)));
    } else {
      lc_buf_slice_append(&b, cases[pick].raw);
    }
    for (uint32_t k = rnd(6); k; k--) damage(&b);
    uint8_t *copy = malloc(b.len);
    memcpy(copy, b.data, b.len);
    use(lc_slice(copy, b.len), &room);
    free(copy);
  }
  print_message("%llu damaged definitions\n", (unsigned long long)runs);
  lc_buf_free(&room);
  lc_buf_free(&b);
}

static uint64_t allocations_left;
static bool counts_down(size_t n) {
  (void)n;
  return allocations_left-- == 0;
}
/* Every allocation of decoding, validation, export and signatures fails in turn: the answer is "out of memory", or the same as always. */
static void test_no_memory(void **state) {
  (void)state;
  struct lc_buf good = {0}, out = {0};
  uint64_t failed = 0;
  for (uint32_t i = 0; i < n_cases; i++) {
    if (cases[i].raw.len > 4000) continue;
    struct lc_error err = {0}, want = {0};
    struct lc_module_def *def;
    bool ok = lc_module_def_decode(cases[i].raw, &def, &want) == LC_OK;
    lc_buf_clear(&good);
    if (ok) {
      assert_int_equal(lc_module_def_json(def, 9, &good, NULL), LC_OK);
      assert_int_equal(lc_module_def_json(def, 10, &good, NULL), LC_OK);
      lc_module_def_free(def);
    }
    for (uint64_t after = 0;; after++) {
      allocations_left = after;
      lc_alloc_may_fail = counts_down;
      enum lc_status st = lc_module_def_decode(cases[i].raw, &def, &err);
      bool all = allocations_left <= after; /* none failed */
      if (st == LC_OK && all) {
        struct lc_hash hash;
        lc_buf_free(&out);
        st = lc_module_def_json(def, 9, &out, &err);
        if (st == LC_OK) st = lc_module_def_json(def, 10, &out, &err);
        for (uint32_t r = 0; r < def->n_reducers && st == LC_OK; r++) st = lc_reducer_signature(&def->reducers[r], &hash, &err);
        all = allocations_left <= after;
        lc_module_def_free(def);
        if (st == LC_OK) assert_true(lc_slice_eq(lc_buf_slice(&out), lc_buf_slice(&good)));
      } else if (st == LC_OK) {
        lc_module_def_free(def);
      }
      lc_alloc_may_fail = NULL;
      if (all) {
        assert_int_equal(st == LC_OK, ok);
        if (!ok) assert_string_equal(err.text, want.text);
        break;
      }
      if (st != LC_NOMEM) fail_msg("%s: allocation %llu failed and the answer is %d %s", cases[i].name, (unsigned long long)after, (int)st, err.text);
      failed++;
    }
  }
  print_message("%llu allocations failed\n", (unsigned long long)failed);
  lc_buf_free(&good);
  lc_buf_free(&out);
}

static int done(void **state) {
  (void)state;
  for (uint32_t i = 0; i < n_cases; i++) lc_free((void *)cases[i].raw.data);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases), cmocka_unit_test(test_exports_read_again), cmocka_unit_test(test_cut), cmocka_unit_test(test_damaged), cmocka_unit_test(test_no_memory)};
  return cmocka_run_group_tests(tests, NULL, done);
}
