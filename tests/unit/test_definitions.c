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
#include "failures.h"
#include "engine/engine.h"
#include "sql/sql.h"
#include <time.h>

enum { MAX_CASES = 1000, MAX_LINE = 1 << 16 };
static struct { char name[200]; struct lc_slice raw; bool ok; } cases[MAX_CASES];
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

/* The keys of the sections, in their order. */
static void list_sections(const char *json, char *out) {
  int depth = 0;
  bool quoted = false;
  for (*out = 0; *json; json++) {
    if (quoted && *json == '\\') json++;
    else if (*json == '"') quoted = !quoted;
    else if (quoted) continue;
    else if (*json == '{' || *json == '[') {
      if (depth++ == 2 && *json == '{') snprintf(out + strlen(out), 100, "%s%.*s", *out ? " " : "", (int)strcspn(json + 2, "\""), json + 2);
    } else if (*json == '}' || *json == ']') depth--;
  }
}

static void expect_export(const char *line) {
  struct lc_buf out = {0};
  const char *want = strchr(line, ' ');
  char name[64];
  snprintf(name, sizeof name, "%.*s", (int)(want - line), line);
  want++;
  export_schema(now.def, strcmp(name, "v9") == 0 ? 9 : 10, &out);
  char *got = (char *)out.data;
  if (strcmp(name, "order") == 0) {
    static char keys[1000];
    list_sections(got, keys);
    got = keys;
  } else if (name[0] != 'v') got = section_of(got, name);
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
  } else if (strcmp(line, "args") == 0) { /* FUNCTION JSON = HEX, or ! TEXT */
    char *json = strchr(rest, ' '), *want = strstr(rest, " = "), *text = strstr(rest, " ! ");
    const struct lc_function_def *function = NULL;
    struct lc_buf out = {0}, hex = {0};
    *json++ = 0;
    *(want ? want : text) = 0;
    for (uint32_t i = 0; i < now.def->n_reducers; i++)
      if (lc_slice_eq_str(now.def->reducers[i].name, rest)) function = &now.def->reducers[i];
    for (uint32_t i = 0; i < now.def->n_procedures; i++)
      if (lc_slice_eq_str(now.def->procedures[i].name, rest)) function = &now.def->procedures[i];
    assert_non_null(function);
    bool read = lc_json_parse_args(lc_slice_str(json), function, &out, &now.err) == LC_OK;
    put_hex(&hex, out.data, out.len);
    if (read != !!want) complain("%s: %s", json, read ? "read" : now.err.text);
    else if (want ? !lc_slice_eq_str(lc_buf_slice(&hex), want + 3) : strcmp(now.err.text, text + 3) != 0) complain("%s: %.*s %s", json, S(hex), now.err.text);
    lc_buf_free(&out);
    lc_buf_free(&hex);
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
  static const char *const expectations[] = {"ok", "fault", "error", "has", "hasnt", "export", "signature", "args"};
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
    if (version == 10 && !strstr(cases[i].name, "read again it has another name")) expect_stable_export(cases[i].raw, 10);
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
    for (long after = 0;; after++) {
      failures_begin(after);
      enum lc_status st = lc_module_def_decode(cases[i].raw, &def, &err);
      bool all = !failures_came();
      if (st == LC_OK && all) {
        struct lc_hash hash;
        lc_buf_free(&out);
        st = lc_module_def_json(def, 9, &out, &err);
        if (st == LC_OK) st = lc_module_def_json(def, 10, &out, &err);
        for (uint32_t r = 0; r < def->n_reducers && st == LC_OK; r++) st = lc_reducer_signature(&def->reducers[r], &hash, &err);
        all = !failures_came();
        lc_module_def_free(def);
        if (st == LC_OK) assert_true(lc_slice_eq(lc_buf_slice(&out), lc_buf_slice(&good)));
      } else if (st == LC_OK) {
        lc_module_def_free(def);
      }
      failures_end();
      if (all) {
        assert_int_equal(st == LC_OK, ok);
        if (!ok) assert_string_equal(err.text, want.text);
        break;
      }
      if (st != LC_NOMEM) fail_msg("%s: allocation %ld failed and the answer is %d %s", cases[i].name, after, (int)st, err.text);
      failed++;
    }
  }
  print_message("%llu allocations failed\n", (unsigned long long)failed);
  lc_buf_free(&good);
  lc_buf_free(&out);
}

/* ---- shapes and sizes ---- */

static void expect_refused(struct lc_buf *raw, const char *text) {
  struct lc_module_def *def;
  struct lc_error err = {0};
  assert_int_not_equal(lc_module_def_decode(lc_buf_slice(raw), &def, &err), LC_OK);
  if (!strstr(err.text, text)) fail_msg("got %s, want %s", err.text, text);
  lc_buf_clear(raw);
}
static void begin_sections(struct lc_buf *b, uint32_t n) {
  lc_buf_clear(b);
  lc_buf_u8(b, 2);
  lc_buf_u32(b, n);
}

/* Every list of every section claims more than there is. */
static void test_huge_counts(void **state) {
  (void)state;
  static const uint32_t counts[] = {0xffffffff, 0x80000000, 0x7fffffff, 65537, 1000};
  struct lc_buf b = {0};
  for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) {
    for (uint8_t tag = 0; tag <= 0x10; tag++) {
      if (tag == 9) continue;
      begin_sections(&b, 1);
      lc_buf_u8(&b, tag);
      lc_buf_u32(&b, counts[k]);
      expect_refused(&b, "a list claims");
    }
    begin_sections(&b, counts[k]);
    expect_refused(&b, "a list claims");
    begin_sections(&b, 1); /* a product of so many fields */
    lc_buf_append(&b, "\0\x01\0\0\0\x02", 6);
    lc_buf_u32(&b, counts[k]);
    expect_refused(&b, "type claims");
  }
  begin_sections(&b, 1); /* as many as the bytes allow, but more than anybody needs */
  lc_buf_u8(&b, 0);
  lc_buf_u32(&b, 70000);
  for (uint32_t i = 0; i < 70000; i++) lc_buf_u8(&b, 7);
  expect_refused(&b, "a list has 70000 elements");
  lc_buf_free(&b);
}

static void test_depth(void **state) {
  (void)state;
  struct lc_buf b = {0};
  struct lc_module_def *def;
  for (int kind = 1; kind <= 3; kind++)
    for (uint32_t depth = 10; depth <= 100000; depth *= 10) { /* sums, products, arrays */
      begin_sections(&b, 1);
      lc_buf_append(&b, "\0\x01\0\0\0", 5);
      for (uint32_t i = 0; i < depth; i++) {
        lc_buf_u8(&b, (uint8_t)kind);
        if (kind < 3) lc_buf_append(&b, "\x01\0\0\0\x01", 5);
      }
      lc_buf_u8(&b, 7);
      if (depth > 10) expect_refused(&b, "nested deeper than 64");
      else lc_module_def_free(decode(lc_buf_slice(&b)));
    }
  for (uint32_t depth = 10; depth <= 10000; depth *= 10) { /* submodules */
    lc_buf_clear(&b);
    lc_buf_u8(&b, 2);
    for (uint32_t i = 0; i < depth; i++) {
      lc_buf_append(&b, "\x01\0\0\0\x0e\x01\0\0\0", 9);
      lc_buf_bsatn_str(&b, "m");
    }
    lc_buf_u32(&b, 0);
    if (depth > 10) expect_refused(&b, "submodules are nested deeper than 16");
    else lc_module_def_free(decode(lc_buf_slice(&b)));
  }
  for (uint32_t n = 10; n <= 60000; n *= 6) { /* a chain of references, each an option of the next, used by a reducer */
    begin_sections(&b, 2);
    lc_buf_u8(&b, 0);
    lc_buf_u32(&b, n);
    for (uint32_t i = 0; i < n; i++) {
      lc_buf_u8(&b, i + 1 < n ? LC_T_ARRAY : LC_T_U8);
      if (i + 1 < n) lc_buf_u8(&b, LC_T_REF), lc_buf_u32(&b, i + 1);
    }
    lc_buf_u8(&b, 3);
    lc_buf_u32(&b, 1);
    lc_buf_bsatn_str(&b, "r");
    raw_params_text(&b, "(a:&0)");
    lc_buf_u8(&b, 1);
    raw_type_text(&b, "()");
    raw_type_text(&b, "string");
    struct lc_error err = {0};
    if (n <= 60) {
      def = decode(lc_buf_slice(&b));
      struct lc_hash hash;
      assert_int_equal(lc_reducer_signature(&def->reducers[0], &hash, &err), LC_OK);
      lc_module_def_free(def);
    } else expect_refused(&b, "is nested too deeply");
  }
  lc_buf_free(&b);
}

static void test_doubling_types(void **state) {
  (void)state;
  /* Types that double at every level: t0 = (U8,U8), tn = (&n-1,&n-1), and a table of t30 */
  struct lc_buf bomb = {0};
  lc_buf_u8(&bomb, 2);
  lc_buf_u32(&bomb, 3);
  lc_buf_u8(&bomb, 0);
  lc_buf_u32(&bomb, 31);
  for (uint32_t i = 0; i <= 30; i++) {
    lc_buf_u8(&bomb, 2);
    lc_buf_u32(&bomb, 2);
    for (int k = 0; k < 2; k++) {
      lc_buf_u8(&bomb, 0);
      lc_buf_bsatn_str(&bomb, k ? "b" : "a");
      lc_buf_u8(&bomb, i ? LC_T_REF : LC_T_U8);
      if (i) lc_buf_u32(&bomb, i - 1);
    }
  }
  lc_buf_u8(&bomb, 1); /* all are named types */
  lc_buf_u32(&bomb, 31);
  for (uint32_t i = 0; i <= 30; i++) {
    char name[8];
    snprintf(name, sizeof name, "T%u", i);
    lc_buf_u32(&bomb, 0);
    lc_buf_bsatn_str(&bomb, name);
    lc_buf_u32(&bomb, i);
    lc_buf_u8(&bomb, 1);
  }
  lc_buf_u8(&bomb, 2);
  lc_buf_u32(&bomb, 1);
  lc_buf_bsatn_str(&bomb, "t");
  lc_buf_u32(&bomb, 30);
  for (int i = 0; i < 4; i++) lc_buf_u32(&bomb, 0);
  lc_buf_u16(&bomb, 1);
  lc_buf_u32(&bomb, 0);
  lc_buf_u8(&bomb, 0);
  expect_refused(&bomb, "types without references would take more than");
  lc_buf_free(&bomb);
}

/* spec/07 §4.2: n declarations, with a key of so many bytes and a union of so many literals of so many bytes each. */
static void put_environment(struct lc_buf *b, uint32_t n, uint32_t key_bytes, uint32_t n_literals, uint32_t literal_bytes) {
  static char literal[8194], name[300];
  begin_sections(b, 1);
  lc_buf_u8(b, 0x0f);
  lc_buf_u32(b, n);
  for (uint32_t i = 0; i < n; i++) {
    snprintf(name, sizeof name, "K%0*u", (int)key_bytes - 1, i);
    lc_buf_bsatn_str(b, name);
    lc_buf_u8(b, 2);
    lc_buf_u32(b, n_literals);
    for (uint32_t k = 0; k < n_literals; k++) {
      memset(literal, 'x', literal_bytes);
      snprintf(literal, sizeof literal, "%08u", k);
      if (literal_bytes > 8) literal[8] = 'x';
      lc_buf_bsatn_bytes(b, lc_slice(literal, literal_bytes));
    }
    lc_buf_u8(b, 0);
  }
}
static void test_environment_limits(void **state) {
  (void)state;
#define ENVIRONMENT "invalid environment declaration: "
  static const struct { uint32_t n, key_bytes, n_literals, literal_bytes; const char *text; } sizes[] = {
      {256, 8, 1, 8, NULL},    {257, 8, 1, 8, ENVIRONMENT "too many declarations"},
      {1, 256, 1, 8, NULL},    {1, 257, 1, 8, ENVIRONMENT "invalid name"},
      {1, 8, 256, 8, NULL},    {1, 8, 257, 8, ENVIRONMENT "environment key \"K0000000\": string union has too many entries"},
      {1, 8, 1, 8192, NULL},   {1, 8, 1, 8193, ENVIRONMENT "environment key \"K0000000\": declared literal exceeds value size limit"},
      {1, 128, 255, 8192, NULL}, {8, 8, 32, 8192, ENVIRONMENT "environment key \"K0000007\": declaration schema exceeds size limit"},
      {255, 8, 1, 8192, NULL}, {256, 8, 1, 8192, ENVIRONMENT "environment key \"K0000255\": declaration schema exceeds size limit"}};
  struct lc_buf b = {0};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    put_environment(&b, sizes[i].n, sizes[i].key_bytes, sizes[i].n_literals, sizes[i].literal_bytes);
    if (sizes[i].text) expect_refused(&b, sizes[i].text);
    else lc_module_def_free(decode(lc_buf_slice(&b)));
  }
  lc_buf_free(&b);
}

static void test_other_versions(void **state) {
  (void)state;
  struct lc_module_def *def = decode(lc_slice("\2\0\0\0\0", 5));
  struct lc_buf out = {0};
  struct lc_error err = {0};
  lc_buf_str(&out, "before");
  assert_int_equal(lc_module_def_json(def, 11, &out, &err), LC_INVALID);
  assert_string_equal(err.text, "no module definition of version 11: only 9 and 10 are offered");
  assert_true(lc_slice_eq_str(lc_buf_slice(&out), "before"));
  lc_buf_free(&out);
  lc_module_def_free(def);
}

/* More faults than an error has room for: the first are there whole, and how many more there are. */
static void test_many_faults(void **state) {
  (void)state;
  struct lc_buf b = {0};
  struct lc_module_def *def;
  struct lc_error err = {0};
  for (int long_names = 0; long_names < 2; long_names++) {
    begin_sections(&b, 1);
    lc_buf_u8(&b, 0x0b);
    lc_buf_u32(&b, 20000);
    for (int i = 0; i < 20000; i++) {
      char name[400] = "";
      if (long_names)
        for (int k = 0; k < 100; k++) strcat(name, k % 3 ? "é" : "🍌");
      size_t n = strlen(name);
      snprintf(name + n, sizeof name - n, "-%05d", i);
      lc_buf_bsatn_str(&b, name);
    }
    assert_int_equal(lc_module_def_decode(lc_buf_slice(&b), &def, &err), LC_INVALID);
    assert_true(lc_utf8_valid((uint8_t *)err.text, strlen(err.text)));
    assert_int_equal(strncmp(err.text, "Errors occurred:\nHTTP handler name `", 36), 0);
    const char *more = strstr(err.text, "\nand ");
    assert_non_null(more);
    assert_string_equal(more + 5 + strspn(more + 5, "0123456789"), " more\n");
  }
  lc_buf_free(&b);
}

/* ---- publishing: what is accepted can be a database, whatever memory there is on the way ---- */

static const struct lc_module_facts facts = {.program_bytes = {(const uint8_t *)"program", 7}};
static void commit(struct lc_datastore *ds, struct lc_tx *tx) {
  const struct lc_tx_delta *delta;
  lc_tx_commit(tx, &delta);
  lc_tx_delta_release(ds, delta);
}

static void test_publish(void **state) {
  (void)state;
  struct lc_datastore *ds;
  struct lc_error err = {0};
  uint32_t n = 0, n_failed = 0, n_updates = 0;
  for (uint32_t i = 0; i < n_cases; i++) {
    if (!cases[i].ok) continue;
    struct lc_module_def *def = decode(cases[i].raw);
    if (lc_datastore_new(&lc_env_system, &ds, &err) != LC_OK) fail_msg("%s", err.text);
    struct lc_tx *first = lc_tx_begin(ds);
    bool can_be = lc_schema_create(first, def, &facts, &err) == LC_OK; /* not with rules about missing tables */
    lc_tx_rollback(first);
    if (!can_be) assert_non_null(strstr(err.text, "is not a valid table"));
    for (long after = 0; can_be; after++) { /* each allocation fails in turn; what failed is rolled back, and the next try finds nothing of it */
      failures_begin(after);
      struct lc_tx *tx = lc_tx_begin(ds);
      enum lc_status st = tx ? lc_schema_create(tx, def, &facts, &err) : LC_NOMEM;
      failures_end();
      if (st == LC_OK) {
        commit(ds, tx);
        break;
      }
      if (tx) lc_tx_rollback(tx);
      if (st != LC_NOMEM) fail_msg("%s: allocation %ld failed and the answer is %d %s", cases[i].name, after, (int)st, err.text);
      n_failed++;
    }
    n += can_be;
    for (uint32_t k = 0; can_be && k < n_cases; k += 7) { /* and becomes another one, or says why not */
      if (!cases[k].ok) continue;
      struct lc_module_def *next = decode(cases[k].raw);
      struct lc_tx *tx = lc_tx_begin(ds);
      if (lc_schema_update(tx, def, next, &facts, &err) == LC_OK) n_updates++;
      lc_tx_rollback(tx);
      lc_module_def_free(next);
    }
    lc_datastore_free(ds);
    lc_module_def_free(def);
  }
  print_message("%u databases, %u failed allocations, %u updates\n", n, n_failed, n_updates);
}

/* spec/01 §18 case 11, spec/07 §5.2 and §19 case 22 */
static void test_view_argument_hashes(void **state) {
  (void)state;
  static const struct { const char *sql, *hash; } queries[] = {
      {"SELECT * FROM anonymous_none", "e8b8b119022591171d4b06f6240a1ee6c7a4b209b187d2e07b973c1e54e2e8b2"},
      {"SELECT * FROM sender_none", "1a6a47c9ffc9971559c902607f0a7fe219042dc8279f470e4463c746479f4e46"},
      {"SELECT * FROM anonymous_one(42)", "258ddf17f8057444a6fe1a9c043c1fc69a1aa6005efd29c919eaee59889005cf"},
      {"SELECT * FROM sender_one(42)", "42172793ebd5afeab9f2c43cb94f6b83dce6b3da4dd5cd8381e69c0a6874c40d"},
      {"SELECT * FROM anonymous_two(42, 'hello')", "a050847fd898832ca779042f750e0e1c077bd8ceb53bc213e7ff4c60b4183bef"},
      {"SELECT * FROM sender_two(42, 'hello')", "f25d1e979eb8a2e31e886fb9aec60551f2ff7f5d33bfa90e48768b78c55156fd"}};
  static const char *const lines[] = {"slot (a:u8)", "type T 0", "view anonymous_none () [&0]", "view sender_none () [&0] sender", "view anonymous_one (n:u32) [&0]",
                                      "view sender_one (n:u32) [&0] sender", "view anonymous_two (n:u32,s:string) [&0]", "view sender_two (n:u32,s:string) [&0] sender"};
  struct raw_def *d = raw_new(10, NULL, "");
  for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
    char line[100];
    snprintf(line, sizeof line, "%s", lines[i]);
    raw_line(&d, line);
  }
  struct lc_buf raw = {0};
  raw_finish(d, &raw);
  struct lc_module_def *def = decode(lc_buf_slice(&raw));
  struct lc_datastore *ds;
  struct lc_error err = {0};
  assert_int_equal(lc_datastore_new(&lc_env_system, &ds, &err), LC_OK);
  struct lc_tx *tx = lc_tx_begin(ds);
  if (lc_schema_create(tx, def, &facts, &err) != LC_OK) fail_msg("%s", err.text);
  commit(ds, tx);
  struct lc_sql_caller caller = {.identity = {{1}}, .is_owner = true};
  for (size_t i = 0; i < sizeof queries / sizeof *queries; i++) {
    struct lc_plan *plan;
    const struct lc_plan_view *views;
    char hex[65] = "";
    if (lc_sql_compile((struct lc_read_view){.ds = ds}, lc_slice_str(queries[i].sql), LC_SQL_QUERY, &caller, &plan, &err) != LC_OK) fail_msg("%s: %s", queries[i].sql, err.text);
    assert_int_equal(lc_plan_views(plan, &views), 1);
    lc_hex_encode(views[0].arg_hash, 32, hex);
    hex[64] = 0;
    assert_string_equal(hex, queries[i].hash);
    lc_plan_free(plan);
  }
  lc_datastore_free(ds);
  lc_module_def_free(def);
  lc_buf_free(&raw);
}

static int done(void **state) {
  (void)state;
  for (uint32_t i = 0; i < n_cases; i++) lc_free((void *)cases[i].raw.data);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases), cmocka_unit_test(test_exports_read_again), cmocka_unit_test(test_cut), cmocka_unit_test(test_damaged), cmocka_unit_test(test_no_memory),
                                     cmocka_unit_test(test_huge_counts), cmocka_unit_test(test_depth), cmocka_unit_test(test_doubling_types), cmocka_unit_test(test_environment_limits), cmocka_unit_test(test_other_versions), cmocka_unit_test(test_many_faults), cmocka_unit_test(test_publish), cmocka_unit_test(test_view_argument_hashes)};
  return cmocka_run_group_tests(tests, NULL, done);
}
