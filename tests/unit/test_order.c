/* Every comparator against an order written naively on decoded values (reference_order.h): each type that a key may have, alone, behind and in front of other
 * columns, extreme and random values, every pair of them; then trees of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include "def_text.h"
#include "reference_order.h"
#include "store/store.h"

static uint64_t state = 1;
static uint64_t rnd(uint64_t n) {
  uint64_t z = state += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return (z ^ z >> 31) % n;
}

static const char *const types[] = {
    "u8", "u16", "u32", "u64", "u128", "u256", "i8", "i16", "i32", "i64", "i128", "i256", "bool", "f32", "f64", "string", "[u8]", "identity", "timestamp", "at",
    "(__connection_id__:u128)", "(__time_duration_micros__:i64)", "(__uuid__:u128)", "{A}", "{A,B,C}", "{A,B,C,D,E,F,G,H,I,J,K,L,M,N,O,P}", "?u8", "?i64", "?string", "?f32", "{A:u8,B:string}", "{A:i32,B:i32,C}",
    "(x:u8,y:i16)", "(x:i64)", "(x:(y:f64))", "(x:i8,y:u256)", "(s:string,x:u16)", "(x:u16,s:string)", "(f:f32,g:f64)", "()", "[i16]", "[string]", "[[u8]]", "[(x:u8,y:bool)]", "[?i8]", "(a:{A,B},b:i128,c:[u8])"};
enum { N_TYPES = sizeof types / sizeof *types, MAX_VALUES = 160 };

/* ---- values ---- */

struct values { struct lc_buf v[MAX_VALUES]; uint32_t n; };

static void random_value(const struct lc_type *t, struct lc_buf *out) {
  uint32_t n = reference_number_bytes(t->kind);
  if (n) { /* an extreme, a single bit, its neighbours, or anything; few bytes that are not zero */
    uint8_t v[32] = {0};
    uint64_t kind = rnd(8);
    if (kind >= 6) for (uint32_t i = 0; i < n; i++) v[i] = (uint8_t)rnd(256);
    else if (kind >= 2) v[rnd(n)] = (uint8_t)(1 << rnd(8));
    else memset(v, kind ? 0xff : 0, n);
    if (kind == 3) for (uint32_t i = 0; i < n; i++) v[i] = (uint8_t)~v[i];
    if (rnd(3) == 0) v[n - 1] ^= 0x80;
    if (rnd(3) == 0) v[0] ^= (uint8_t)(1 + rnd(2));
    lc_buf_append(out, v, n);
    return;
  }
  switch (t->kind) {
  case LC_T_BOOL: lc_buf_u8(out, (uint8_t)rnd(2)); return;
  case LC_T_F32: {
    static const uint32_t bits[] = {0, 0x80000000, 1, 0x80000001, 0x7f800000, 0xff800000, 0x7fc00000, 0xffc00000, 0x7f800001, 0xff800001, 0x7f7fffff, 0xff7fffff, 0x00800000, 0x3f800000, 0xbf800000};
    lc_buf_u32(out, rnd(2) ? bits[rnd(15)] : (uint32_t)rnd(UINT64_MAX));
    return;
  }
  case LC_T_F64: {
    static const uint64_t bits[] = {0, 1ull << 63, 1, 1ull << 63 | 1, 0x7ffull << 52, 0xfffull << 52, 0x7ff8ull << 48, 0xfff8ull << 48, 0x7ffull << 52 | 1, 0xfffull << 52 | 1, (0x7ffull << 52) - 1,
                                    (0xfffull << 52) - 1, 1ull << 52, 0x3ffull << 52, 0xbffull << 52, 0x0008000000000001};
    lc_buf_u64(out, rnd(2) ? bits[rnd(16)] : rnd(UINT64_MAX));
    return;
  }
  case LC_T_STRING: case LC_T_ARRAY: { /* a common beginning, then few different bytes: what the prefix holds and what it does not */
    bool bytes = t->kind == LC_T_STRING || t->elem->kind == LC_T_U8;
    uint32_t count = (uint32_t)(bytes && rnd(8) == 0 ? rnd(40) : rnd(10)), same = rnd(2) ? count - (count > 0) : 0;
    lc_buf_u32(out, count);
    for (uint32_t i = 0; i < count; i++) {
      if (!bytes) random_value(t->elem, out);
      else if (t->kind == LC_T_STRING) lc_buf_u8(out, i < same ? 'a' : (uint8_t) "\0ab\x7f"[rnd(4)]);
      else lc_buf_u8(out, i < same ? 'a' : (uint8_t) "\0\1a\x7f\x80\xff"[rnd(6)]);
    }
    if (t->kind == LC_T_STRING && rnd(4) == 0) { /* two bytes of UTF-8 */
      uint32_t longer = count + 2;
      memcpy(out->data + out->len - count - 4, &longer, 4);
      lc_buf_append(out, rnd(2) ? "\xc3\xa9" : "\xdf\xbf", 2);
    }
    return;
  }
  case LC_T_SUM: {
    uint32_t tag = (uint32_t)rnd(t->n_fields);
    lc_buf_u8(out, (uint8_t)tag);
    random_value(t->fields[tag].type, out);
    return;
  }
  case LC_T_PRODUCT:
    for (uint32_t i = 0; i < t->n_fields; i++) random_value(t->fields[i].type, out);
    return;
  default: fail_msg("no values of kind %d", (int)t->kind);
  }
}
static void values_fill(struct values *v, const struct lc_type *t) {
  for (v->n = 0; v->n < MAX_VALUES; v->n++) {
    lc_buf_clear(&v->v[v->n]);
    if (v->n && t->kind == LC_T_PRODUCT && rnd(2)) { /* differs from one before in one field */
      const uint8_t *like = v->v[rnd(v->n)].data;
      uint64_t change = rnd(t->n_fields + 1);
      for (uint32_t i = 0; i < t->n_fields; i++) {
        const uint8_t *p = reference_column(t, like, i);
        if (i == change) random_value(t->fields[i].type, &v->v[v->n]);
        else lc_buf_append(&v->v[v->n], p, (size_t)(reference_skip(t->fields[i].type, p) - p));
      }
      continue;
    }
    random_value(t, &v->v[v->n]);
  }
}
static void values_free(struct values *v) {
  for (uint32_t i = 0; i < MAX_VALUES; i++) lc_buf_free(&v->v[i]);
}

static int sign(int c) { return (c > 0) - (c < 0); }

static const struct lc_type *type_of(struct lc_module_def *room, const char *word) {
  struct def_text d = {room, NULL};
  return def_type(&d, &word);
}

/* ---- each pair ---- */

static void check_pairs(const struct lc_type *t, const char *word) {
  static struct values v;
  values_fill(&v, t);
  for (uint32_t a = 0; a < v.n; a++) {
    struct lc_reader r = lc_reader(lc_buf_slice(&v.v[a]));
    assert_int_equal(lc_bsatn_validate(t, NULL, &r, NULL), LC_OK);
    assert_true(lc_reader_left(&r) == 0 && lc_bsatn_skip(t, v.v[a].data) == v.v[a].data + v.v[a].len && reference_skip(t, v.v[a].data) == v.v[a].data + v.v[a].len);
    for (uint32_t b = 0; b < v.n; b++) {
      int want = sign(reference_compare(t, v.v[a].data, v.v[b].data));
      if (sign(lc_bsatn_compare(t, v.v[a].data, v.v[b].data)) != want) fail_msg("%s: values in another order than %d", word, want);
      if (lc_type_is_bitwise(t)) assert_true((want == 0) == lc_slice_eq(lc_buf_slice(&v.v[a]), lc_buf_slice(&v.v[b])));
    }
  }
  values_free(&v);
}

static int reference_key(const struct lc_key_spec *s, const uint8_t *a, const uint8_t *b, uint32_t parts) {
  for (uint32_t i = 0; i < parts; i++) {
    int c = reference_compare(s->entry_type->fields[s->columns[i]].type, reference_column(s->entry_type, a, s->columns[i]), reference_column(s->entry_type, b, s->columns[i]));
    if (c) return sign(c);
  }
  return 0;
}

/* Keys: entries compared with concatenated keys, whole and in part, and their 8-byte prefixes. */
static void check_keys(struct lc_key_spec *s, const char *word) {
  static struct values v;
  static struct lc_buf keys[MAX_VALUES];
  lc_key_spec_init(s);
  values_fill(&v, s->entry_type);
  for (uint32_t i = 0; i < v.n; i++) {
    lc_buf_clear(&keys[i]);
    lc_key_extract(s, v.v[i].data, &keys[i]);
    assert_int_equal(lc_key_len(s, keys[i].data, s->n_parts), keys[i].len);
  }
  for (uint32_t parts = 1; parts <= s->n_parts; parts++)
    for (uint32_t a = 0; a < v.n; a++)
      for (uint32_t b = 0; b < v.n; b++) {
        int want = reference_key(s, v.v[a].data, v.v[b].data, parts);
        if (sign(lc_key_compare_entry(s, v.v[a].data, keys[b].data, parts)) != want) fail_msg("%s, %u parts of %u: keys in another order than %d", word, parts, s->n_parts, want);
        uint64_t x = lc_key_prefix(s, keys[a].data, parts), y = lc_key_prefix(s, keys[b].data, parts);
        if ((x < y && want >= 0) || (x > y && want <= 0) || (want == 0 && x != y) || (s->is_exact && parts == s->n_parts && want && x == y)) fail_msg("%s, %u parts of %u: prefixes contradict", word, parts, s->n_parts);
      }
  for (uint32_t i = 0; i < MAX_VALUES; i++) lc_buf_free(&keys[i]);
  values_free(&v);
}

/* A tree clustered by the key: in the reference order, every entry is found, and every place before or behind the first parts of a key. */
static void check_tree(const struct lc_key_spec *s, const char *word) {
  enum { N = 300 };
  struct lc_store *store = lc_store_new();
  struct lc_tree t;
  struct lc_cursor c;
  struct lc_buf e = {0}, key = {0};
  struct lc_slice there[N];
  uint32_t n = 0, count = 0;
  assert_int_equal(lc_tree_init(&t, store, s), LC_OK);
  lc_buf_u8(&e, 0), lc_buf_u8(&key, 0); /* bytes without length lie somewhere */
  for (int i = 0; i < N; i++) {
    lc_buf_clear(&e), lc_buf_clear(&key);
    random_value(s->entry_type, &e);
    lc_key_extract(s, e.data, &key);
    struct lc_slice found = lc_tree_find(&t, key.data);
    if (found.data && reference_key(s, found.data, e.data, s->n_parts) != 0) fail_msg("%s: another entry is found", word);
    enum lc_tree_result r = lc_tree_insert(&t, lc_buf_slice(&e), NULL);
    if (r != (found.data ? LC_TREE_DUPLICATE : LC_TREE_DONE)) fail_msg("%s: insertion gives %d", word, (int)r);
    count += r == LC_TREE_DONE;
    assert_true(lc_tree_find(&t, key.data).data != NULL);
  }
  lc_tree_check(&t);
  for (lc_cursor_seek(&c, &t, NULL, NULL, 0, false); lc_cursor_valid(&c) && n < N; lc_cursor_next(&c)) {
    there[n++] = lc_cursor_entry(&c);
    if (n > 1 && reference_key(s, there[n - 2].data, there[n - 1].data, s->n_parts) >= 0) fail_msg("%s: entries out of order", word);
  }
  assert_int_equal(n, count);
  for (int i = 0; i < 100; i++) {
    uint32_t parts = 1 + (uint32_t)rnd(s->n_parts), at = 0;
    bool after = rnd(2);
    lc_buf_clear(&e), lc_buf_clear(&key);
    if (rnd(2)) lc_buf_slice_append(&e, there[rnd(n)]);
    else random_value(s->entry_type, &e);
    lc_key_extract(s, e.data, &key);
    while (at < n && reference_key(s, there[at].data, e.data, parts) < (after ? 1 : 0)) at++;
    lc_cursor_seek(&c, &t, NULL, key.data, parts, after);
    if (lc_cursor_valid(&c) != (at < n) || (at < n && lc_cursor_entry(&c).data != there[at].data)) fail_msg("%s: another place for %u parts of %u", word, parts, s->n_parts);
    lc_cursor_seek_last(&c, &t, NULL, key.data, parts, after);
    if (lc_cursor_valid(&c) != (at > 0) || (at > 0 && lc_cursor_entry(&c).data != there[at - 1].data)) fail_msg("%s: another place, from behind, for %u parts of %u", word, parts, s->n_parts);
  }
  lc_tree_free(&t);
  lc_store_free(store);
  lc_buf_free(&e), lc_buf_free(&key);
}

static void each_type_alone(void **unused) {
  (void)unused;
  struct lc_module_def room = {0};
  for (uint32_t i = 0; i < N_TYPES; i++) check_pairs(type_of(&room, types[i]), types[i]);
  lc_arena_free(&room.arena);
}
/* The key is the type; the type behind a short or a dynamic column that is not in the key; the type in front of or behind another part. */
static void each_type_in_keys(void **unused) {
  (void)unused;
  static const char *const others[] = {"u8", "i32", "string", "f32"};
  struct lc_module_def room = {0};
  for (uint32_t i = 0; i < N_TYPES; i++) {
    const struct lc_type *t = type_of(&room, types[i]);
    struct lc_type_field alone[1] = {{.type = t}};
    struct lc_key_spec s = {.entry_type = lc_type_new_product(&room.arena, 1, alone), .n_parts = 1};
    check_keys(&s, types[i]);
    check_tree(&s, types[i]);
    for (uint32_t k = 0; k < 4; k++) {
      struct lc_type_field f[3] = {{.type = type_of(&room, others[(i + k) % 4])}, {.type = t}, {.type = type_of(&room, types[rnd(N_TYPES)])}};
      static const struct { uint32_t n; uint16_t columns[3]; } orders[] = {{1, {1}}, {2, {1, 0}}, {2, {0, 1}}, {3, {2, 1, 0}}};
      s = (struct lc_key_spec){.entry_type = lc_type_new_product(&room.arena, 3, f), .n_parts = orders[k].n};
      memcpy(s.columns, orders[k].columns, sizeof orders[k].columns);
      check_keys(&s, types[i]);
      check_tree(&s, types[i]);
    }
  }
  lc_arena_free(&room.arena);
}

/* The reference order itself, on values whose order is known. */
static void the_reference(void **unused) {
  (void)unused;
  static const struct { const char *type, *ascending; } known[] = {
      {"i8", "80 ff 00 01 7f"}, {"u16", "0000 ff00 0001 ffff"}, {"i16", "0080 00ff ffff 0000 ff00 ff7f"}, {"i128", "00000000000000000000000000000080 ffffffffffffffffffffffffffffffff 01000000000000000000000000000000 00000000000000000100000000000000"},
      {"f32", "000080ff 0000c0bf 00000080 01000000 0000c03f 0000807f 0000c07f"}, {"string", "00000000 0100000000 0100000061 020000006100 020000006161 0100000062 02000000c3a9"}, {"?u8", "0000 00ff 01"},
      {"{A,B,C}", "00 01 02"}, {"[i8]", "00000000 0100000080 02000000807f 01000000ff 0100000000"}, {"(x:u8,y:i16)", "000080 00ffff 000000 010080"}};
  struct lc_module_def room = {0};
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    const struct lc_type *t = type_of(&room, known[i].type);
    uint8_t bytes[8][64];
    char text[400], *save;
    uint32_t n = 0;
    snprintf(text, sizeof text, "%s", known[i].ascending);
    for (char *w = strtok_r(text, " ", &save); w; w = strtok_r(NULL, " ", &save)) assert_true(lc_hex_decode(w, strlen(w), bytes[n++]));
    for (uint32_t a = 0; a < n; a++)
      for (uint32_t b = 0; b < n; b++) assert_int_equal(sign(reference_compare(t, bytes[a], bytes[b])), sign((int)a - (int)b));
  }
  lc_arena_free(&room.arena);
}

int main(void) {
  const char *s = getenv("SEED");
  state = s ? strtoull(s, NULL, 0) : 1;
  const struct CMUnitTest tests[] = {cmocka_unit_test(the_reference), cmocka_unit_test(each_type_alone), cmocka_unit_test(each_type_in_keys)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
