/* Raw module definitions (BSATN RawModuleDef, spec/01 §11 to §13, spec/07 §4.1) from lines of words, written from the chapter and without
 * any code of src/types, so that it can say wrong things too. Who calls gives one line after the other to raw_line and takes the bytes with
 * raw_finish. Words are parted by blanks; "..." is one word, \xHH in it one byte. COLS: 0,1 or "" for none.
 *
 *   slot TYPE                          one more slot of the typespace
 *   type [SCOPE::...]NAME REF [ordered]      ordered: no ordering of its own
 *   table NAME REF [pk COLS] [private] [system] [event]     then, belonging to it:
 *     index SOURCE|- btree|hash|direct COLS [ACCESSOR]
 *     unique COLS [NAME]
 *     sequence COL [named NAME] [start N] [min N] [max N] [by N]
 *     default COL HEX [TABLE]
 *     schedule FUNCTION COL [TABLE]
 *   reducer NAME PARAMS [private] [ok TYPE] [err TYPE] [init|connect|disconnect]
 *   procedure NAME PARAMS TYPE [private]
 *   view NAME PARAMS TYPE [sender] [private] [id N]
 *   key VIEW COLUMN...                 primary key of a view
 *   lifecycle init|connect|disconnect REDUCER
 *   rls SQL
 *   policy none|snake
 *   name table|function|index|namespace SOURCE CANONICAL
 *   handler NAME
 *   route any|get|head|...|EXTENSION HANDLER PATH
 *   env NAME string|literal|union [VALUE...] [optional]     optional: last word
 *   outbox TABLE REDUCER TARGET COLS CALLBACK|- HASH
 *   module NAMESPACE ... end           a submodule
 *   section HEX                        one more section of V10, as it is
 *   bytes HEX                          the whole definition, instead
 * Version 8 has its own: column NAME TYPE; index NAME btree|hash COLS [unique]; constraint NAME BITS COLS; scheduled REDUCER.
 *
 * TYPE: u8 ... i256, f32, f64, bool, string; &N; [T]; ?T; T!E (Result, T without !); (name:T,...), {Variant,Variant:T,...}, without a name :T;
 * identity, connection, timestamp, duration, uuid, at (ScheduleAt). A name ends at : , ) or }. */
#ifndef LC_DEF_RAW_H
#define LC_DEF_RAW_H
#include "base/base.h"
#include <stdio.h>
#include <stdlib.h>

struct raw_list { struct lc_buf bytes; uint32_t n; };
enum { R_SLOTS, R_TYPES, R_TABLES, R_REDUCERS, R_PROCEDURES, R_VIEWS, R_SCHEDULES, R_LIFECYCLES, R_RLS, R_POLICY, R_NAMES, R_HANDLERS, R_ROUTES, R_KEYS, R_MODULES, R_ENV, R_OUTBOXES, R_SECTIONS };
enum { RT_INDEXES, RT_UNIQUE, RT_SEQUENCES, RT_DEFAULTS, RT_COLUMNS, RT_LISTS };
struct raw_def {
  int version;
  struct raw_def *parent; /* of a submodule that is still open */
  char namespace[256], table[65536], scheduled[256];
  struct raw_list lists[R_SECTIONS];
  struct lc_buf sections; /* given as they are */
  uint32_t n_sections, n_view_ids[2];
  bool table_open;
  struct lc_buf head, tail; /* of the open table: before its lists, behind them */
  struct raw_list parts[RT_LISTS];
  struct lc_buf whole, schedule, misc; /* bytes; V9: the open table's schedule, misc exports */
  uint32_t n_misc;
  const char *access[2];
};

#define raw_bad(...) (fprintf(stderr, __VA_ARGS__), fputc('\n', stderr), abort())

static void raw_name_text(struct lc_buf *b, const char *s) { lc_buf_bsatn_bytes(b, lc_slice_str(s)); }
static void raw_opt_text(struct lc_buf *b, const char *s) {
  lc_buf_u8(b, !s || strcmp(s, "-") == 0);
  if (s && strcmp(s, "-") != 0) raw_name_text(b, s);
}
static void raw_hex(struct lc_buf *b, const char *hex) {
  size_t n = strlen(hex);
  uint8_t *bytes = malloc(n / 2 + 1);
  if (!lc_hex_decode(hex, n, bytes)) raw_bad("not hexadecimal: %s", hex);
  lc_buf_append(b, bytes, n / 2);
  free(bytes);
}
static void raw_i128_of(struct lc_buf *b, const char *text) {
  int64_t v = strtoll(text, NULL, 0);
  lc_buf_i64(b, v);
  lc_buf_i64(b, v < 0 ? -1 : 0);
}
static void raw_cols(struct lc_buf *b, const char *text) {
  uint32_t n = 0;
  struct lc_buf cols = {0};
  for (const char *p = text; *p; n++) {
    char *end;
    lc_buf_u16(&cols, (uint16_t)strtoul(p, &end, 10));
    if (end == p) raw_bad("no columns: %s", text);
    p = *end == ',' ? end + 1 : end;
  }
  lc_buf_u32(b, n);
  lc_buf_slice_append(b, lc_buf_slice(&cols));
  lc_buf_free(&cols);
}

static void raw_one_type(struct lc_buf *b, const char **p);
static uint32_t raw_elements(struct lc_buf *b, const char **p, char end) { /* behind the count */
  uint32_t n = 0;
  for (; **p != end; n++) {
    size_t len = strcspn(*p, ":,)}");
    lc_buf_u8(b, len == 0);
    if (len) lc_buf_bsatn_bytes(b, lc_slice(*p, len));
    *p += len;
    if (**p == ':') ++*p, raw_one_type(b, p);
    else lc_buf_append(b, "\x02\0\0\0", 5);
    if (**p == ',') ++*p;
    else if (**p != end) raw_bad("no end of a type at %s", *p);
  }
  ++*p;
  return n;
}
static void raw_special(struct lc_buf *b, const char *field, uint8_t kind) {
  lc_buf_append(b, "\x02\x01\0\0\0", 6);
  raw_name_text(b, field);
  lc_buf_u8(b, kind);
}
static void raw_one_type(struct lc_buf *b, const char **p) {
  static const char *const simple[] = {"string", "bool", "i8", "u8", "i16", "u16", "i32", "u32", "i64", "u64", "i128", "u128", "i256", "u256", "f32", "f64"};
  static const struct { const char *word, *field; uint8_t kind; } special[] = {
      {"identity", "__identity__", 0x11}, {"connection", "__connection_id__", 0x0f}, {"timestamp", "__timestamp_micros_since_unix_epoch__", 0x0c}, {"duration", "__time_duration_micros__", 0x0c}, {"uuid", "__uuid__", 0x0f}};
  size_t before = b->len;
  char c = **p;
  if (c == '&') {
    char *end;
    lc_buf_u8(b, 0);
    lc_buf_u32(b, (uint32_t)strtoul(*p + 1, &end, 10));
    *p = end;
  } else if (c == '[') {
    ++*p;
    lc_buf_u8(b, 3);
    raw_one_type(b, p);
    if (*(*p)++ != ']') raw_bad("no ] in a type");
  } else if (c == '?') {
    ++*p;
    lc_buf_append(b, "\x01\x02\0\0\0\0\x04\0\0\0some", 14);
    raw_one_type(b, p);
    lc_buf_append(b, "\0\x04\0\0\0none\x02\0\0\0", 14);
  } else if (c == '(' || c == '{') {
    ++*p;
    lc_buf_u8(b, c == '(' ? 2 : 1);
    size_t at = b->len;
    lc_buf_u32(b, 0);
    lc_buf_patch_u32(b, at, raw_elements(b, p, c == '(' ? ')' : '}'));
  } else {
    size_t n = strspn(*p, "abcdefghijklmnopqrstuvwxyz0123456789");
    struct lc_slice word = lc_slice(*p, n);
    *p += n;
    for (size_t i = 0; i < sizeof simple / sizeof *simple; i++)
      if (lc_slice_eq_str(word, simple[i])) lc_buf_u8(b, (uint8_t)(4 + i));
    for (size_t i = 0; i < sizeof special / sizeof *special; i++)
      if (lc_slice_eq_str(word, special[i].word)) raw_special(b, special[i].field, special[i].kind);
    if (lc_slice_eq_str(word, "at")) {
      lc_buf_append(b, "\x01\x02\0\0\0\0\x08\0\0\0Interval", 18);
      raw_special(b, special[3].field, 0x0c);
      lc_buf_append(b, "\0\x04\0\0\0Time", 9);
      raw_special(b, special[2].field, 0x0c);
    }
    if (b->len == before) raw_bad("no type at %s", word.data);
  }
  if (**p == '!') { /* what was written is the first of a Result */
    struct lc_buf ok = {0};
    ++*p;
    lc_buf_append(&ok, b->data + before, b->len - before);
    b->len = before;
    lc_buf_append(b, "\x01\x02\0\0\0\0\x02\0\0\0ok", 12);
    lc_buf_slice_append(b, lc_buf_slice(&ok));
    lc_buf_append(b, "\0\x03\0\0\0err", 8);
    raw_one_type(b, p);
    lc_buf_free(&ok);
  }
}
static void raw_type_text(struct lc_buf *b, const char *text) {
  const char *p = text;
  raw_one_type(b, &p);
  if (*p) raw_bad("more than a type: %s", text);
}
static void raw_params_text(struct lc_buf *b, const char *text) { /* a bare product: without its tag */
  struct lc_buf t = {0};
  raw_type_text(&t, text);
  lc_buf_append(b, t.data + 1, t.len - 1);
  lc_buf_free(&t);
}

static void raw_put_list(struct lc_buf *out, struct raw_list *l) {
  lc_buf_u32(out, l->n);
  lc_buf_slice_append(out, lc_buf_slice(&l->bytes));
  lc_buf_free(&l->bytes);
  l->n = 0;
}
static void raw_close_table(struct raw_def *d) {
  static const int order[3][5] = {{RT_COLUMNS, RT_INDEXES, RT_UNIQUE, RT_SEQUENCES, -1}, {RT_INDEXES, RT_UNIQUE, RT_SEQUENCES, -1, -1}, {RT_INDEXES, RT_UNIQUE, RT_SEQUENCES, -1, -1}};
  struct lc_buf *out = &d->lists[R_TABLES].bytes;
  if (!d->table_open) return;
  d->table_open = false;
  d->lists[R_TABLES].n++;
  lc_buf_slice_append(out, lc_buf_slice(&d->head));
  for (const int *k = order[d->version - 8]; *k >= 0; k++) raw_put_list(out, &d->parts[*k]);
  if (d->version == 9) {
    lc_buf_u8(out, d->schedule.len == 0);
    lc_buf_slice_append(out, lc_buf_slice(&d->schedule));
  }
  if (d->version > 8) {
    lc_buf_u8(out, strcmp(d->access[0], "system") != 0);
    lc_buf_u8(out, strcmp(d->access[1], "public") != 0);
  } else {
    raw_name_text(out, d->access[0]);
    raw_name_text(out, d->access[1]);
    raw_opt_text(out, *d->scheduled ? d->scheduled : NULL);
  }
  if (d->version == 10) raw_put_list(out, &d->parts[RT_DEFAULTS]);
  lc_buf_slice_append(out, lc_buf_slice(&d->tail));
  lc_buf_free(&d->head);
  lc_buf_free(&d->tail);
  lc_buf_free(&d->schedule);
}

/* The words of a line, in place. */
static unsigned raw_words(char *line, char **w, unsigned max) {
  unsigned n = 0;
  for (char *p = line; *p && n < max; n++) {
    while (*p == ' ') p++;
    if (!*p) break;
    if (*p != '"') {
      w[n] = p;
      p += strcspn(p, " ");
      if (*p) *p++ = 0;
      continue;
    }
    char *to = w[n] = ++p;
    for (; *p && *p != '"'; p++) {
      unsigned byte;
      if (p[0] == '\\' && p[1] == 'x' && sscanf(p + 2, "%2x", &byte) == 1) *to++ = (char)byte, p += 3;
      else *to++ = *p;
    }
    if (*p) p++;
    *to = 0;
  }
  return n;
}
static unsigned raw_word_at(const char *word, const char *const *words, unsigned n, const char *what) {
  for (unsigned i = 0; i < n; i++)
    if (strcmp(words[i], word) == 0) return i;
  raw_bad("no %s: %s", what, word);
}

static struct raw_def *raw_new(int version, struct raw_def *parent, const char *namespace) {
  struct raw_def *d = calloc(1, sizeof *d);
  d->version = version;
  d->parent = parent;
  snprintf(d->namespace, sizeof d->namespace, "%s", namespace);
  return d;
}

static void raw_sections(struct raw_def *d, struct lc_buf *out) {
  static const uint8_t tags[R_SECTIONS] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0x10};
  uint32_t n = d->n_sections;
  for (int k = 0; k < R_SECTIONS; k++) n += d->lists[k].n > 0;
  lc_buf_u32(out, n);
  for (int k = 0; k < R_SECTIONS; k++) {
    if (!d->lists[k].n) continue;
    lc_buf_u8(out, tags[k]);
    if (k == R_POLICY) {
      lc_buf_slice_append(out, lc_buf_slice(&d->lists[k].bytes));
      lc_buf_free(&d->lists[k].bytes);
    } else {
      raw_put_list(out, &d->lists[k]);
    }
  }
  lc_buf_slice_append(out, lc_buf_slice(&d->sections));
  lc_buf_free(&d->sections);
}

/* The bytes; frees *d. */
__attribute__((unused)) static void raw_finish(struct raw_def *d, struct lc_buf *out) {
  raw_close_table(d);
  if (d->whole.len) {
    lc_buf_slice_append(out, lc_buf_slice(&d->whole));
  } else {
    lc_buf_u8(out, (uint8_t)(d->version - 8));
    if (d->version == 10) raw_sections(d, out);
    else {
      raw_put_list(out, &d->lists[R_SLOTS]);
      raw_put_list(out, &d->lists[R_TABLES]);
      raw_put_list(out, &d->lists[R_REDUCERS]);
      raw_put_list(out, &d->lists[R_TYPES]);
      if (d->version == 9) {
        lc_buf_u32(out, d->n_misc);
        lc_buf_slice_append(out, lc_buf_slice(&d->misc));
        raw_put_list(out, &d->lists[R_RLS]);
      }
    }
  }
  lc_buf_free(&d->misc);
  lc_buf_free(&d->whole);
  free(d);
}

static bool raw_table_line(struct raw_def *d, char **w, unsigned n) {
  static const char *const kinds[] = {"btree", "hash", "direct"};
#define IS(i, word) ((i) < n && strcmp(w[i], word) == 0)
  if (IS(0, "table")) {
    const char *pk = "";
    bool event = false;
    raw_close_table(d);
    d->table_open = true;
    snprintf(d->table, sizeof d->table, "%s", w[1]);
    d->access[0] = "user";
    d->access[1] = "public";
    *d->scheduled = 0;
    for (unsigned i = 3; i < n; i++) {
      if (IS(i, "pk")) pk = w[++i];
      else if (IS(i, "private")) d->access[1] = "private";
      else if (IS(i, "system")) d->access[0] = "system";
      else if (IS(i, "event")) event = true;
      else raw_bad("what is %s?", w[i]);
    }
    raw_name_text(&d->head, w[1]);
    if (d->version == 8) lc_buf_u32(&d->tail, (uint32_t)strtoul(w[2], NULL, 10));
    else {
      lc_buf_u32(&d->head, (uint32_t)strtoul(w[2], NULL, 10));
      raw_cols(&d->head, pk);
    }
    if (d->version == 10) lc_buf_u8(&d->tail, event);
  } else if (IS(0, "column")) {
    d->parts[RT_COLUMNS].n++;
    raw_name_text(&d->parts[RT_COLUMNS].bytes, w[1]);
    raw_type_text(&d->parts[RT_COLUMNS].bytes, w[2]);
  } else if (IS(0, "index")) {
    struct lc_buf *b = &d->parts[RT_INDEXES].bytes;
    unsigned kind = raw_word_at(w[2], kinds, 3, "kind of index");
    d->parts[RT_INDEXES].n++;
    if (d->version == 8) {
      raw_name_text(b, w[1]);
      lc_buf_u8(b, IS(4, "unique"));
      lc_buf_u8(b, (uint8_t)kind);
      raw_cols(b, w[3]);
      return true;
    }
    raw_opt_text(b, w[1]);
    raw_opt_text(b, n > 4 ? w[4] : NULL);
    lc_buf_u8(b, (uint8_t)kind);
    if (kind == 2) lc_buf_u16(b, (uint16_t)strtoul(w[3], NULL, 10));
    else raw_cols(b, w[3]);
  } else if (IS(0, "constraint")) {
    struct lc_buf *b = &d->parts[RT_UNIQUE].bytes;
    d->parts[RT_UNIQUE].n++;
    raw_name_text(b, w[1]);
    lc_buf_u8(b, (uint8_t)strtoul(w[2], NULL, 0));
    raw_cols(b, w[3]);
  } else if (IS(0, "unique")) {
    d->parts[RT_UNIQUE].n++;
    raw_opt_text(&d->parts[RT_UNIQUE].bytes, n > 2 ? w[2] : NULL);
    lc_buf_u8(&d->parts[RT_UNIQUE].bytes, 0);
    raw_cols(&d->parts[RT_UNIQUE].bytes, w[1]);
  } else if (IS(0, "sequence")) {
    static const char *const options[] = {"start", "min", "max"};
    struct lc_buf *b = &d->parts[RT_SEQUENCES].bytes, range[3] = {{0}};
    const char *name = NULL, *by = "1";
    for (unsigned i = 2; i + 1 < n; i += 2) {
      if (IS(i, "named")) name = w[i + 1];
      else if (IS(i, "by")) by = w[i + 1];
      else raw_i128_of(&range[raw_word_at(w[i], options, 3, "option of a sequence")], w[i + 1]);
    }
    d->parts[RT_SEQUENCES].n++;
    if (d->version == 8) raw_name_text(b, name ? name : "");
    else raw_opt_text(b, name);
    lc_buf_u16(b, (uint16_t)strtoul(w[1], NULL, 10));
    if (d->version == 8) raw_i128_of(b, by);
    for (int i = 0; i < 3; i++) {
      lc_buf_u8(b, range[i].len == 0);
      lc_buf_slice_append(b, lc_buf_slice(&range[i]));
      lc_buf_free(&range[i]);
    }
    raw_i128_of(b, d->version == 8 ? "0" : by); /* V8 ends with `allocated` */
  } else if (IS(0, "default")) {
    struct lc_buf *b = d->version == 9 ? &d->misc : &d->parts[RT_DEFAULTS].bytes, value = {0};
    if (d->version == 9) {
      d->n_misc++;
      lc_buf_u8(b, 0);
      raw_name_text(b, n > 3 ? w[3] : d->table);
    } else {
      d->parts[RT_DEFAULTS].n++;
    }
    lc_buf_u16(b, (uint16_t)strtoul(w[1], NULL, 10));
    raw_hex(&value, w[2]);
    lc_buf_bsatn_bytes(b, lc_buf_slice(&value));
    lc_buf_free(&value);
  } else if (IS(0, "scheduled")) {
    snprintf(d->scheduled, sizeof d->scheduled, "%s", w[1]);
  } else if (IS(0, "schedule") && d->version == 9) {
    lc_buf_u8(&d->schedule, 1);
    raw_name_text(&d->schedule, w[1]);
    lc_buf_u16(&d->schedule, (uint16_t)strtoul(w[2], NULL, 10));
  } else return false;
  return true;
}

static void raw_function_line(struct raw_def *d, char **w, unsigned n, int list) {
  static const char *const events[] = {"init", "connect", "disconnect"};
  bool to_misc = d->version == 9 && list != R_REDUCERS;
  struct lc_buf *b = to_misc ? &d->misc : &d->lists[list].bytes;
  const char *ok = "()", *err = "string", *id = NULL;
  bool private = false, sender = false;
  int event = -1;
  for (unsigned i = list == R_REDUCERS ? 3 : 4; i < n; i++) {
    if (IS(i, "private")) private = true;
    else if (IS(i, "sender")) sender = true;
    else if (IS(i, "ok")) ok = w[++i];
    else if (IS(i, "err")) err = w[++i];
    else if (IS(i, "id")) id = w[++i];
    else event = (int)raw_word_at(w[i], events, 3, "event");
  }
  if (to_misc) {
    d->n_misc++;
    lc_buf_u8(b, list == R_PROCEDURES ? 1 : 2);
  } else {
    d->lists[list].n++;
  }
  raw_name_text(b, w[1]);
  if (list == R_VIEWS) {
    uint32_t next = d->n_view_ids[!sender]++;
    lc_buf_u32(b, id ? (uint32_t)strtoul(id, NULL, 10) : next);
    lc_buf_u8(b, !private);
    lc_buf_u8(b, !sender);
  }
  raw_params_text(b, w[2]);
  if (list != R_REDUCERS) raw_type_text(b, w[3]);
  if (d->version == 10 && list != R_VIEWS) lc_buf_u8(b, !private);
  if (list != R_REDUCERS || d->version == 8) return;
  if (d->version == 9) {
    lc_buf_u8(b, event < 0);
    if (event >= 0) lc_buf_u8(b, (uint8_t)event);
    return;
  }
  raw_type_text(b, ok);
  raw_type_text(b, err);
  if (event < 0) return;
  d->lists[R_LIFECYCLES].n++;
  lc_buf_u8(&d->lists[R_LIFECYCLES].bytes, (uint8_t)event);
  raw_name_text(&d->lists[R_LIFECYCLES].bytes, w[1]);
}

static void raw_module_line(struct raw_def **at, char **w, unsigned n) {
  struct raw_def *d = *at;
  static const char *const events[] = {"init", "connect", "disconnect"}, *const names[] = {"table", "function", "index", "namespace"}, *const policies[] = {"none", "snake"};
  static const char *const commands[R_SECTIONS] = {"slot", "type", "", "reducer", "procedure", "view", "schedule", "lifecycle", "rls", "policy", "name", "handler", "route", "key", "module", "env", "outbox"};
  if (IS(0, "end")) {
    struct raw_def *parent = d->parent;
    struct lc_buf *b = &parent->lists[R_MODULES].bytes;
    raw_close_table(d);
    parent->lists[R_MODULES].n++;
    raw_name_text(b, d->namespace);
    raw_sections(d, b);
    free(d);
    *at = parent;
    return;
  }
  if (IS(0, "section")) {
    d->n_sections++;
    for (unsigned i = 1; i < n; i++) raw_hex(&d->sections, w[i]);
    return;
  }
  if (IS(0, "bytes")) {
    for (unsigned i = 1; i < n; i++) raw_hex(&d->whole, w[i]);
    return;
  }
  int k = (int)raw_word_at(w[0], commands, R_SECTIONS, "line");
  struct lc_buf *b = &d->lists[k].bytes;
  if (k == R_MODULES) {
    *at = raw_new(10, d, w[1]);
    return;
  }
  if (k == R_REDUCERS || k == R_PROCEDURES || k == R_VIEWS) {
    raw_function_line(d, w, n, k);
    return;
  }
  d->lists[k].n++;
  if (k == R_SLOTS) {
    raw_type_text(b, w[1]);
  } else if (k == R_TYPES && d->version == 8) {
    lc_buf_u8(b, 0);
    raw_name_text(b, w[1]);
    lc_buf_u32(b, (uint32_t)strtoul(w[2], NULL, 10));
  } else if (k == R_TYPES) {
    uint32_t n_scope = 0;
    size_t count = b->len;
    char *name = w[1];
    lc_buf_u32(b, 0);
    for (char *next; (next = strstr(name, "::")); name = next + 2, n_scope++) {
      *next = 0;
      raw_name_text(b, name);
    }
    lc_buf_patch_u32(b, count, n_scope);
    raw_name_text(b, name);
    lc_buf_u32(b, (uint32_t)strtoul(w[2], NULL, 10));
    lc_buf_u8(b, !IS(3, "ordered"));
  } else if (k == R_SCHEDULES) {
    lc_buf_u8(b, 1);
    raw_name_text(b, n > 3 ? w[3] : d->table);
    lc_buf_u16(b, (uint16_t)strtoul(w[2], NULL, 10));
    raw_name_text(b, w[1]);
  } else if (k == R_LIFECYCLES) {
    lc_buf_u8(b, (uint8_t)raw_word_at(w[1], events, 3, "event"));
    raw_name_text(b, w[2]);
  } else if (k == R_RLS || k == R_HANDLERS) {
    raw_name_text(b, w[1]);
  } else if (k == R_POLICY) {
    lc_buf_u8(b, (uint8_t)raw_word_at(w[1], policies, 2, "policy"));
  } else if (k == R_NAMES) {
    lc_buf_u8(b, (uint8_t)raw_word_at(w[1], names, 4, "kind of name"));
    raw_name_text(b, w[2]);
    raw_name_text(b, w[3]);
  } else if (k == R_ROUTES) {
    static const char *const methods[] = {"get", "head", "post", "put", "delete", "connect", "options", "trace", "patch"};
    unsigned m = 0;
    while (m < 9 && strcmp(methods[m], w[1]) != 0) m++;
    raw_name_text(b, w[2]);
    lc_buf_u8(b, !IS(1, "any"));
    if (!IS(1, "any")) lc_buf_u8(b, (uint8_t)m);
    if (!IS(1, "any") && m == 9) raw_name_text(b, w[1]);
    raw_name_text(b, w[3]);
  } else if (k == R_KEYS) {
    raw_name_text(b, w[1]);
    lc_buf_u32(b, n - 2);
    for (unsigned i = 2; i < n; i++) raw_name_text(b, w[i]);
  } else if (k == R_ENV) {
    bool optional = IS(n - 1, "optional");
    n -= optional;
    raw_name_text(b, w[1]);
    lc_buf_u8(b, IS(2, "string") ? 0 : IS(2, "literal") ? 1 : 2);
    if (IS(2, "union")) lc_buf_u32(b, n - 3);
    for (unsigned i = 3; i < n; i++) raw_name_text(b, w[i]);
    lc_buf_u8(b, optional);
  } else if (k == R_OUTBOXES) {
    raw_name_text(b, w[1]);
    raw_name_text(b, w[2]);
    lc_buf_u16(b, (uint16_t)strtoul(w[3], NULL, 10));
    raw_cols(b, w[4]);
    raw_opt_text(b, w[5]);
    raw_hex(b, w[6]);
  } else {
    raw_bad("no line of a module: %s", w[0]);
  }
#undef IS
}

/* One line, which is changed. *at may move into a submodule and out of it. */
__attribute__((unused)) static void raw_line(struct raw_def **at, char *line) {
  char *w[300];
  unsigned n = raw_words(line, w, 300);
  if (n == 0 || (n == 1 && strcmp(w[0], "end") != 0)) raw_bad("no line: %s", line);
  if (!raw_table_line(*at, w, n)) raw_module_line(at, w, n);
}

#endif
