/* The storage simulator: engine, log, snapshots and recovery, without actor and threads, on a virtual disk and clock, everything from a seed (DESIGN idea 6).
 *
 * A run makes a random schema and then lives several times: it opens the folder, compares what it finds with its own model, works (transactions, rounds of the log
 * writer, snapshots, retention) while calls to the disk fail, and ends: cleanly, killed, or with the power gone in the middle of any call. It is wrong if
 *   a transaction that was said to be durable is missing, or what is there is not a prefix of what was committed;
 *   the rows, as the table or any index has them, are not the model's; a second recovery gives something else;
 *   a number that a sequence gave to a row that is still there is given again;
 *   damage at rest is neither refused, with the file's name, nor without effect;
 *   anything fails for which no fault was injected.
 *
 *   storage-sim [-v] [-s] [-t] [-b BUG] FIRST COUNT
 *   -v: tells what happens; -s: how often each fault came; -t: each seed twice, which must be the same (else every fiftieth); -b: with a planted bug, until it is found
 */
#include "../unit/def_text.h"
#include "db/db.h"
#include "disk.h"
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum { MAX_TABLES = 4, MAX_LIVES = 6, MAX_TX = 4096, FIRST_TX = 2 /* after the bootstrap and the schema */ };

struct row { uint32_t table; bool is_delete, is_generated; struct lc_slice bytes; };
struct tx { struct row *rows; uint32_t n; };
struct sum { uint64_t hash, n; };
struct table_model { char name[16]; struct lc_slice *rows; uint32_t n, cap; struct sum sum; };

struct world {
  uint64_t seed; struct sim_random random; struct sim_disk *disk; struct lc_env env; int64_t now_us;
  bool trace; char flipped[160]; uint64_t flip_at; /* what was damaged, once a run: one copy of everything is promised, not two */
  uint64_t hit, hit_end;                         /* the transaction whose commit in the newest segment was, and where it ends; 0: none */
  uint64_t flip_may_cost;                        /* that transaction, if nothing whole follows: it looks as one torn does; UINT64_MAX: none */
  char schema[1024]; uint32_t n_tables; struct table_model tables[MAX_TABLES];
  struct tx *history; uint64_t next_offset;      /* of the model: transactions 0 ... next_offset - 1 */
  uint64_t acked_end;                            /* said to be durable */
  uint64_t hash;                                 /* of the run */
  /* a life */
  struct lc_wal *wal; struct lc_datastore *ds; struct lc_db_files files; bool log_failed;
  struct lc_snapfile *file; uint64_t file_offset;
  uint64_t max_segment_bytes; bool has_long_rows, retain_all;
  struct lc_buf record;
  char error[600];
};
#ifdef LC_SIMULATOR
enum lc_planted_bug lc_planted_bug;
#endif
uint64_t sim_faults_seen[SIM_N_FAULTS];
static const struct lc_module_facts facts = {.database = {{9}}, .program_bytes = {(const uint8_t *)"program", 7}};

static bool wrong(struct world *w, const char *fmt, ...) LC_PRINTF(2, 3);
static bool wrong(struct world *w, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(w->error, sizeof w->error, fmt, ap);
  va_end(ap);
  return false;
}
#define TRACE(w, ...) ((w)->trace ? (void)(printf("  " __VA_ARGS__), printf("\n")) : (void)0)

static int64_t now_us(void *ctx) { return ((struct world *)ctx)->now_us; }
static int64_t monotonic_ns(void *ctx) { return ((struct world *)ctx)->now_us * 1000; }
static void random_bytes(void *ctx, void *out, size_t len) {
  for (uint8_t *p = out; len--;) *p++ = (uint8_t)sim_next(&((struct world *)ctx)->random);
}

/* ---- the model ---- */

static void model_apply(struct table_model *t, bool is_delete, struct lc_slice row) {
  uint32_t i = 0;
  while (i < t->n && !lc_slice_eq(t->rows[i], row)) i++;
  if (is_delete != (i < t->n)) return; /* already so */
  uint64_t h = lc_hash64(row.data, row.len, 1);
  if (is_delete) {
    t->rows[i] = t->rows[--t->n];
    t->sum.hash -= h;
    t->sum.n--;
    return;
  }
  if (t->n == t->cap) {
    t->cap = t->cap ? t->cap * 2 : 32;
    t->rows = lc_realloc(t->rows, t->cap * sizeof *t->rows);
    lc_assert(t->rows);
  }
  t->rows[t->n++] = row;
  t->sum.hash += h;
  t->sum.n++;
}
static void tx_forget(struct tx *x) {
  for (uint32_t i = 0; i < x->n; i++) lc_free((void *)(uintptr_t)x->rows[i].bytes.data);
  lc_free(x->rows);
  *x = (struct tx){0};
}
/* The model as it was before transaction `next`. */
static void model_rewind(struct world *w, uint64_t next) {
  for (uint64_t i = next; i < w->next_offset; i++) tx_forget(&w->history[i]);
  w->next_offset = next;
  for (uint32_t t = 0; t < w->n_tables; t++) {
    w->tables[t].n = 0;
    w->tables[t].sum = (struct sum){0, 0};
  }
  for (uint64_t i = 0; i < next; i++)
    for (uint32_t k = 0; k < w->history[i].n; k++) model_apply(&w->tables[w->history[i].rows[k].table], w->history[i].rows[k].is_delete, w->history[i].rows[k].bytes);
}

/* ---- comparing ---- */

static struct sum sum_of(struct lc_row_iter *it) {
  struct sum s = {0, 0};
  for (struct lc_slice row; (row = lc_row_iter_next(it)).data; s.n++) s.hash += lc_hash64(row.data, row.len, 1);
  lc_row_iter_close(it);
  return s;
}
static bool same_state(struct world *w, struct lc_datastore *ds, const char *when) {
  struct lc_read_view v = {.ds = ds};
  struct lc_slice all = lc_slice("\2", 1), none = {0};
  if (w->next_offset < FIRST_TX) return true;
  for (uint32_t i = 0; i < w->n_tables; i++) {
    const struct lc_table_info *t = lc_datastore_table_by_name(ds, lc_slice_str(w->tables[i].name));
    struct lc_row_iter *it;
    if (!t) return wrong(w, "%s: table %s is missing", when, w->tables[i].name);
    if (lc_view_scan(v, t->table_id, &it) != LC_ERRNO_OK) return wrong(w, "%s: table %s cannot be read", when, w->tables[i].name);
    struct sum s = sum_of(it), m = w->tables[i].sum;
    if (s.hash != m.hash || s.n != m.n) return wrong(w, "%s: table %s has %llu rows (%016llx), the model %llu (%016llx)", when, w->tables[i].name, (unsigned long long)s.n, (unsigned long long)s.hash, (unsigned long long)m.n, (unsigned long long)m.hash);
    if (lc_view_row_count(v, t->table_id) != m.n) return wrong(w, "%s: table %s counts wrongly", when, w->tables[i].name);
    for (uint32_t k = 0; k < t->n_indexes; k++) {
      if (t->indexes[k].kind == LC_INDEX_HASH) continue;
      if (lc_view_scan_range(v, t->indexes[k].index_id, none, 0, all, all, &it, NULL) != LC_ERRNO_OK) return wrong(w, "%s: an index of %s cannot be read", when, w->tables[i].name);
      s = sum_of(it);
      if (s.hash != m.hash || s.n != m.n) return wrong(w, "%s: index %.*s has other rows than its table", when, (int)t->indexes[k].name.len, (const char *)t->indexes[k].name.data);
    }
  }
  return true;
}

/* ---- a life ---- */

static void on_durable(void *ctx, uint64_t end) {
  struct world *w = ctx;
  if (end > w->acked_end) w->acked_end = end;
}
static void on_failed(void *ctx, const char *text) {
  struct world *w = ctx;
  w->log_failed = true;
  TRACE(w, "the log fails: %s", text);
}

static enum lc_status open_folder(struct world *w, struct lc_error *err) {
  struct lc_wal_options o = {.max_segment_bytes = w->max_segment_bytes, .by_hand = true, .ctx = w, .durable = on_durable, .failed = on_failed};
  w->log_failed = false;
  enum lc_status st = lc_wal_open(sim_disk_fs(w->disk), "r", &o, &w->wal, err);
  if (st != LC_OK) return st;
  w->files = (struct lc_db_files){.env = &w->env, .fs = sim_disk_fs(w->disk), .dir = "r", .wal = w->wal, .database = facts.database, .retain_all = w->retain_all};
  return LC_OK;
}
static void shut(struct world *w) {
  lc_snapfile_discard(w->file);
  w->file = NULL;
  lc_wal_close(w->wal);
  w->wal = NULL;
  lc_datastore_free(w->ds);
  w->ds = NULL;
}

/* Opens and recovers twice, comparing. is_fresh: the damage happened since the last opening. *ended: the damage was refused, and that is the end of the run. */
static bool open_and_check(struct world *w, bool is_fresh, bool *ended) {
  const char *flipped = *w->flipped ? w->flipped : NULL;
  struct lc_error err = {0};
  for (int twice = 0; twice < 2; twice++) {
    uint64_t next = 0;
    if (is_fresh && w->hit_end) { /* again each time: when the power goes, what followed may be gone */
      const char *newest;
      struct lc_slice segment = sim_disk_newest_segment(w->disk, &newest);
      if (newest && strcmp(newest, w->flipped) == 0 && !sim_commit_end(segment, w->hit_end)) w->flip_may_cost = w->hit;
    }
    enum lc_status st = open_folder(w, &err);
    if (st == LC_OK) st = lc_db_recover(&w->files, &w->ds, &next, &err);
    if (st != LC_OK) {
      if (sim_disk_has_failed(w->disk) || sim_disk_is_down(w->disk)) { /* a fault was injected into the opening: again without */
        shut(w);
        if (sim_disk_is_down(w->disk)) sim_disk_power_cycle(w->disk);
        else sim_disk_reopen(w->disk);
        twice = -1;
        continue;
      }
      if (flipped && (st == LC_CORRUPT || st == LC_UNSUPPORTED)) {
        TRACE(w, "refused: %s", err.text);
        if (!sim_refusal_is_exact(err.text, flipped)) return wrong(w, "a bit of %s at byte %llu has flipped, and the refusal does not say what is wrong and where: %s", flipped, (unsigned long long)w->flip_at, err.text);
        sim_faults_seen[SIM_REFUSED]++;
        shut(w);
        *ended = true;
        return true;
      }
      return wrong(w, "opening: %s", err.text);
    }
    if (lc_wal_next_offset(w->wal) != next) return wrong(w, "the log goes on at %llu, the state ends before %llu", (unsigned long long)lc_wal_next_offset(w->wal), (unsigned long long)next);
    uint64_t must = is_fresh && w->flip_may_cost < w->acked_end ? w->flip_may_cost : w->acked_end;
    sim_faults_seen[SIM_LAST_COMMIT_CUT] += next < w->acked_end;
    if (next < must) return wrong(w, "transactions up to %llu were said to be durable, %llu are there", (unsigned long long)w->acked_end, (unsigned long long)next);
    if (next > w->next_offset) return wrong(w, "%llu transactions are there, %llu were committed", (unsigned long long)next, (unsigned long long)w->next_offset);
    TRACE(w, "opened: %llu of %llu transactions, %llu durable, from %llu on out of the log", (unsigned long long)next, (unsigned long long)w->next_offset, (unsigned long long)w->acked_end, (unsigned long long)w->files.recovered_from);
    model_rewind(w, next);
    w->acked_end = next; /* what is there now was read from the disk and counts as durable */
    if (!same_state(w, w->ds, twice ? "second recovery" : "recovery")) return false;
    w->hash = lc_hash64(&next, sizeof next, w->hash);
    if (twice == 0) shut(w);
  }
  return true;
}

static void random_value(struct world *w, const struct lc_type *t, struct lc_buf *out) {
  if (t->kind == LC_T_STRING) {
    uint32_t n = sim_chance(&w->random, w->has_long_rows ? 300 : 30) ? 600 + sim_dice(&w->random, 4000) : sim_dice(&w->random, 20);
    lc_buf_u32(out, n);
    while (n--) lc_buf_u8(out, (uint8_t)('a' + sim_dice(&w->random, 3)));
  } else if (t->kind == LC_T_BOOL) lc_buf_u8(out, (uint8_t)sim_dice(&w->random, 2));
  else
    for (uint32_t i = 0; i < t->static_size_bytes; i++) lc_buf_u8(out, i == 0 ? (uint8_t)sim_dice(&w->random, 200) : 0);
}

static void commit_record(struct world *w, struct lc_tx *tx, bool *logged) {
  static const struct lc_tx_inputs none;
  const struct lc_tx_delta *delta;
  lc_tx_commit(tx, &delta);
  if ((*logged = lc_tx_delta_is_logged(delta, &none))) {
    lc_buf_clear(&w->record);
    lc_tx_record_encode(&w->record, delta, &none);
    lc_wal_append(w->wal, lc_buf_slice(&w->record));
  }
  lc_tx_delta_release(w->ds, delta);
}

/* The first two transactions: the system tables, and the schema. */
static bool create(struct world *w) {
  struct lc_error err;
  bool logged;
  struct lc_module_def *def = def_text(w->schema);
  if (w->next_offset == 0) {
    lc_buf_clear(&w->record);
    if (lc_datastore_bootstrap_record(w->ds, &w->record) != LC_OK) return wrong(w, "no memory");
    lc_wal_append(w->wal, lc_buf_slice(&w->record));
    w->next_offset = 1;
  }
  struct lc_tx *tx = lc_tx_begin(w->ds);
  if (lc_schema_create(tx, def, &facts, &err) != LC_OK) return wrong(w, "schema: %s", err.text);
  commit_record(w, tx, &logged);
  w->next_offset = FIRST_TX;
  lc_wal_submit(w->wal);
  lc_module_def_free(def);
  return true;
}

static bool is_given(const struct world *w, uint32_t table, struct lc_slice id) { /* to a row of the surviving history */
  for (uint64_t i = FIRST_TX; i < w->next_offset; i++)
    for (uint32_t k = 0; k < w->history[i].n; k++) {
      const struct row *r = &w->history[i].rows[k];
      if (r->table == table && r->is_generated && memcmp(r->bytes.data, id.data, id.len) == 0) return true;
    }
  return false;
}

static bool transaction(struct world *w) {
  struct tx x = {.rows = lc_alloc(24 * sizeof(struct row))};
  struct sum before[MAX_TABLES];
  struct lc_buf row = {0};
  struct lc_error err;
  struct lc_tx *tx = lc_tx_begin(w->ds);
  bool ok = true;
  for (uint32_t i = 0; i < w->n_tables; i++) before[i] = w->tables[i].sum;
  for (uint32_t n = 1 + sim_dice(&w->random, sim_chance(&w->random, 100) ? 20 : 4); n && ok; n--) {
    uint32_t at = sim_dice(&w->random, w->n_tables);
    struct table_model *m = &w->tables[at];
    const struct lc_table_info *t = lc_datastore_table_by_name(w->ds, lc_slice_str(m->name));
    lc_buf_clear(&row);
    if (m->n && sim_chance(&w->random, 350)) {
      bool found;
      struct lc_slice victim = m->rows[sim_dice(&w->random, m->n)];
      lc_buf_slice_append(&row, victim);
      if (lc_tx_delete_row(tx, t->table_id, lc_buf_slice(&row), &found, &err) != LC_ERRNO_OK || !found) ok = wrong(w, "a row of %s that is there is not found", m->name);
      x.rows[x.n++] = (struct row){at, true, false, lc_slice(lc_strdup_n(row.data, row.len), row.len)};
    } else {
      struct lc_slice stored;
      for (uint32_t c = 0; c < t->row_type->n_fields; c++) random_value(w, t->row_type->fields[c].type, &row);
      bool automatic = m->name[0] == 'a';
      if (automatic) memset(row.data, 0, 8);
      int rc = lc_tx_insert(tx, t->table_id, lc_buf_slice(&row), NULL, &stored, &err);
      if (rc == LC_ERRNO_UNIQUE_EXISTS) {
        if (automatic) ok = wrong(w, "a sequence gave the number of a row that is there: %s", err.text);
        continue;
      }
      if (rc != LC_ERRNO_OK) ok = wrong(w, "insert: %s", err.text);
      if (ok && automatic && is_given(w, at, lc_slice(stored.data, 8))) ok = wrong(w, "a sequence gave a number twice");
      if (ok) x.rows[x.n++] = (struct row){at, false, automatic, lc_slice(lc_strdup_n(stored.data, stored.len), stored.len)};
    }
    if (ok) model_apply(m, x.rows[x.n - 1].is_delete, x.rows[x.n - 1].bytes);
  }
  lc_buf_free(&row);
  uint64_t offset = w->next_offset;
  if (!ok || sim_chance(&w->random, 120)) {
    lc_tx_rollback(tx);
    w->history[offset] = x;
    w->next_offset = offset + 1;
    model_rewind(w, offset);
    return ok;
  }
  bool logged, changed = false;
  commit_record(w, tx, &logged);
  for (uint32_t i = 0; i < w->n_tables; i++) changed |= memcmp(&before[i], &w->tables[i].sum, sizeof before[i]) != 0;
  w->history[offset] = x;
  w->next_offset = offset + 1;
  if (!logged) { /* it must have come to nothing; what sequences gave out is in no log either */
    model_rewind(w, offset);
    return changed ? wrong(w, "a transaction with changes is not logged") : true;
  }
  if (sim_chance(&w->random, 700)) lc_wal_submit(w->wal);
  return lc_wal_next_offset(w->wal) == w->next_offset || wrong(w, "the log counts %llu, the model %llu", (unsigned long long)lc_wal_next_offset(w->wal), (unsigned long long)w->next_offset);
}

static void begin_snapshot(struct world *w) {
  struct lc_read_view view;
  struct lc_error err;
  if (w->file || lc_read_view_open(w->ds, &view) != LC_OK) return;
  w->file_offset = w->next_offset - 1;
  if (lc_db_snapshot_write(&w->files, view, w->file_offset, NULL, &w->file, &err) != LC_OK) w->file = NULL;
  lc_read_view_close(&view);
}
static bool publish_snapshot(struct world *w) {
  struct lc_error err;
  if (!w->file || lc_wal_durable_end(w->wal) <= w->file_offset) return true;
  enum lc_status st = lc_db_snapshot_publish(&w->files, w->file, w->file_offset, &err);
  w->file = NULL;
  if (st == LC_OK) TRACE(w, "snapshot at %llu", (unsigned long long)w->file_offset);
  if (st == LC_OK && sim_chance(&w->random, 400) && (st = lc_wal_compress(w->wal, w->file_offset, NULL, &err)) == LC_CORRUPT && *w->flipped && strstr(err.text, w->flipped)) st = LC_OK; /* it says so and leaves it */
  return st == LC_OK || sim_disk_has_failed(w->disk) || sim_disk_is_down(w->disk) || wrong(w, "publishing a snapshot: %s", err.text);
}

static bool work(struct world *w) {
  for (uint32_t steps = 5 + sim_dice(&w->random, 60); steps && !w->log_failed && !sim_disk_is_down(w->disk) && w->next_offset + 1 < MAX_TX; steps--) {
    bool step = sim_chance(&w->random, 30), back = sim_chance(&w->random, 500);
    if (step) sim_faults_seen[back ? SIM_CLOCK_BACK : SIM_CLOCK_FORWARD]++;
    w->now_us += !step ? (int64_t)sim_dice(&w->random, 100000) : (back ? -1 : 1) * (int64_t)sim_dice(&w->random, 5000000);
    uint32_t what = sim_dice(&w->random, 100);
    bool ok = true;
    if (what < 60) ok = transaction(w);
    else if (what < 85) lc_wal_step(w->wal);
    else if (what < 92) begin_snapshot(w);
    else ok = publish_snapshot(w);
    if (!ok) return false;
    if (w->log_failed && !sim_disk_has_failed(w->disk) && !sim_disk_is_down(w->disk)) return wrong(w, "the log failed without a fault");
  }
  return w->log_failed || sim_disk_is_down(w->disk) || same_state(w, w->ds, "at work");
}

static void random_schema(struct world *w) {
  static const char *const types[] = {"u32", "i64", "string", "bool", "u8", "string"}, *const options[] = {"", "", " index", " index"};
  size_t n = 0;
  w->n_tables = 2 + sim_dice(&w->random, MAX_TABLES - 1);
  for (uint32_t i = 0; i < w->n_tables; i++) {
    bool automatic = i == 0 || sim_chance(&w->random, 300), keyed = !automatic && sim_chance(&w->random, 500);
    snprintf(w->tables[i].name, sizeof w->tables[i].name, "%c%u", automatic ? 'a' : 't', i);
    n += (size_t)snprintf(w->schema + n, sizeof w->schema - n, "table %s\n col id u64%s\n", w->tables[i].name, automatic ? " pk auto" : keyed ? " pk" : "");
    for (uint32_t c = sim_dice(&w->random, 4); c; c--) {
      const char *type = types[sim_dice(&w->random, 6)], *option = options[sim_dice(&w->random, 4)];
      n += (size_t)snprintf(w->schema + n, sizeof w->schema - n, " col c%u %s%s\n", c, type, option);
    }
  }
}

/* A bit of a file at rest flips. */
static bool damage(struct world *w) {
  static const char *const kinds[] = {".stdb.log", ".stdb.log", ".snapshot", ".stdb.ofs"};
  const char *newest;
  struct lc_buf before = {0};
  lc_buf_slice_append(&before, sim_disk_newest_segment(w->disk, &newest));
  const char *flipped = sim_disk_flip(w->disk, kinds[sim_dice(&w->random, 4)], &w->flip_at);
  w->hit_end = flipped && newest && strcmp(flipped, newest) == 0 ? sim_commit_around(lc_buf_slice(&before), w->flip_at, &w->hit) : 0;
  w->flip_may_cost = UINT64_MAX;
  lc_buf_free(&before);
  if (!flipped) return false;
  snprintf(w->flipped, sizeof w->flipped, "%s", flipped);
  TRACE(w, "a bit of %s flips at byte %llu", flipped, (unsigned long long)w->flip_at);
  return true;
}

static bool run(struct world *w) {
  bool ended = false;
  bool is_fresh = false;
  random_schema(w);
  w->has_long_rows = sim_chance(&w->random, 200); /* then segments have offset indexes of several entries */
  w->retain_all = sim_chance(&w->random, 250); /* then what is compressed stays, and all of it is replayed where no snapshot is whole */
  w->max_segment_bytes = 400 + sim_dice(&w->random, w->has_long_rows ? 60000 : 6000);
  for (uint32_t lives = 2 + sim_dice(&w->random, MAX_LIVES - 1); lives; lives--) {
    if (sim_chance(&w->random, 100)) sim_disk_faults(w->disk, 5 + sim_dice(&w->random, 40)); /* into the opening */
    if (sim_chance(&w->random, 150)) sim_disk_crash_after(w->disk, sim_dice(&w->random, 40));
    if (!open_and_check(w, is_fresh, &ended)) return false;
    if (ended) return true;
    is_fresh = false;
    if (w->next_offset < FIRST_TX && !create(w)) return false;
    sim_disk_faults(w->disk, sim_chance(&w->random, 400) ? 1 + sim_dice(&w->random, 20) : 0);
    sim_disk_crash_after(w->disk, sim_chance(&w->random, 700) ? sim_dice(&w->random, 150) : UINT64_MAX);
    if (!work(w)) return false;
    uint32_t end = sim_dice(&w->random, 3);
    if (end == 0 && !sim_disk_is_down(w->disk)) { /* cleanly: all that was submitted is durable, if nothing fails */
      lc_wal_submit(w->wal);
      shut(w);
      if (!w->log_failed && !sim_disk_is_down(w->disk) && w->acked_end != w->next_offset) return wrong(w, "closed with %llu of %llu transactions durable", (unsigned long long)w->acked_end, (unsigned long long)w->next_offset);
    } else {
      sim_disk_crash_after(w->disk, 0);
      bool power = sim_disk_is_down(w->disk) || end == 1;
      shut(w);
      TRACE(w, "%s", power ? "the power goes" : "killed");
      if (power) sim_disk_power_cycle(w->disk);
    }
    if (sim_disk_is_down(w->disk) && sim_chance(&w->random, 500)) sim_disk_power_cycle(w->disk);
    else sim_disk_reopen(w->disk);
    w->hash = lc_hash64(&w->acked_end, sizeof w->acked_end, w->hash + sim_disk_hash(w->disk));
    if (!*w->flipped && sim_chance(&w->random, 60)) is_fresh = damage(w);
  }
  return true;
}

static bool simulate(uint64_t seed, bool trace, uint64_t *hash, char *error, size_t error_size) {
  struct world *w = lc_alloc_zero(1, sizeof *w);
  w->seed = seed;
  w->trace = trace;
  w->random.state = seed * 0x2545f4914f6cdd1du + 1;
  w->now_us = 1700000000000000;
  w->env = (struct lc_env){w, now_us, monotonic_ns, random_bytes};
  w->disk = sim_disk_new(&w->random);
  w->history = lc_alloc_zero(MAX_TX, sizeof *w->history);
  bool ok = run(w);
  *hash = w->hash;
  snprintf(error, error_size, "%s", w->error);
  if (w->wal || w->ds) {
    sim_disk_crash_after(w->disk, 0);
    shut(w);
  }
  for (uint64_t i = 0; i < MAX_TX; i++) tx_forget(&w->history[i]);
  for (uint32_t i = 0; i < MAX_TABLES; i++) lc_free(w->tables[i].rows);
  lc_free(w->history);
  lc_buf_free(&w->record);
  sim_disk_free(w->disk);
  lc_free(w);
  return ok;
}

static bool verbose; /* the log of what is simulated */
void __wrap_lc_log(enum lc_log_level level, const char *fmt, ...) LC_PRINTF(2, 3);
void __wrap_lc_log(enum lc_log_level level, const char *fmt, ...) {
  va_list ap;
  if (!verbose) return;
  va_start(ap, fmt);
  printf("  log %d: ", (int)level);
  vprintf(fmt, ap);
  printf("\n");
  va_end(ap);
}
static void tell_faults(void) {
  static const char *const kinds[] = {"power cut at", "EIO of", "ENOSPC of"}, *const others[] = {SIM_OTHER_FAULTS(SIM_TEXT)};
  for (unsigned i = 0; i <= SIM_FIRST_OTHER; i++) printf("stat %llu %s %s\n", (unsigned long long)sim_faults_seen[i], kinds[i / SIM_OPERATIONS], sim_operation_names[i % SIM_OPERATIONS]);
  for (unsigned i = SIM_FIRST_OTHER + 1; i < SIM_N_FAULTS; i++) printf("stat %llu %s\n", (unsigned long long)sim_faults_seen[i], others[i - SIM_FIRST_OTHER - 1]);
}

int main(int argc, char **argv) {
  bool twice = false, stats = false;
  int bug = 0;
  char error[600];
  for (int c; (c = getopt(argc, argv, "vstb:")) != -1;) {
    if (c == 'v') verbose = true;
    else if (c == 's') stats = true;
    else if (c == 't') twice = true;
    else if (c == 'b') bug = atoi(optarg);
    else return 2;
  }
  if (argc - optind != 2) return fprintf(stderr, "usage: storage-sim [-v] [-s] [-t] [-b BUG] FIRST COUNT\n"), 2;
#ifdef LC_SIMULATOR
  lc_planted_bug = (enum lc_planted_bug)bug;
#else
  if (bug) return fprintf(stderr, "this build has no planted bugs\n"), 2;
#endif
  uint64_t first = strtoull(argv[optind], NULL, 10), count = strtoull(argv[optind + 1], NULL, 10), all = 0;
  for (uint64_t seed = first; seed < first + count; seed++) {
    uint64_t hash, again;
    bool ok = simulate(seed, verbose, &hash, error, sizeof error);
    if (ok && (twice || seed % 50 == 0) && (!simulate(seed, false, &again, error, sizeof error) || again != hash)) { /* one seed is one run */
      ok = false;
      snprintf(error, sizeof error, "two runs differ");
    }
    if (!ok) {
      printf("seed %llu: %s\n  again: %s -v -b %d %llu 1\n", (unsigned long long)seed, error, argv[0], bug, (unsigned long long)seed);
      return 1;
    }
    all = lc_hash64(&hash, sizeof hash, all);
  }
  if (stats) tell_faults();
  printf("%llu seeds from %llu: hash %016llx\n", (unsigned long long)count, (unsigned long long)first, (unsigned long long)all);
  return 0;
}
