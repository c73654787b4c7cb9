/* Encoding of answers in all four protocols while an allocation fails, each in turn: the client gets the whole message or is dropped, never a part of one or a later message
 * in its place (spec/03 §17). */
#include "api/server.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include "def_text.h"

static int64_t allocs_left = -1;
static bool may_fail(size_t n) {
  (void)n;
  return allocs_left >= 0 && allocs_left-- == 0;
}
static void fail_alloc(int64_t n) {
  allocs_left = n;
  lc_alloc_may_fail = n >= 0 ? may_fail : NULL;
}

enum { JSON, V1, V2, V3, N_PROTOCOLS };
static struct ws_client client(int protocol) {
  return (struct ws_client){.base = {.ops = protocol < V2 ? &ws_v1_ops : &ws_v2_ops, .protocol = protocol < V2 ? 1 : (uint8_t)protocol}, .is_json = protocol == JSON, .is_light = true};
}
static struct lc_query_rows rows[2];
static struct lc_query_delta delta;
static uint8_t list[4096];

/* Every kind of message that grows with its rows or its text, one after the other into the same output. */
static void say_all(struct ws_client *c) {
  const struct lc_db_op op = {.request_id = 1, .query_set_id = 2, .n_queries = 2};
  const struct lc_query_delta *deltas[] = {&delta};
  struct lc_set_update set = {.query_set_id = 2, .n = 1, .deltas = deltas};
  c->base.ops->connected(&c->base, LC_OK, NULL);
  c->base.ops->subscribe_applied(&c->base, &op, rows, 2);
  c->base.ops->transaction_update(&c->base, &set, 1, NULL);
  c->base.ops->subscription_error(&c->base, &op, "no such table");
  c->base.ops->one_off_result(&c->base, &op, lc_slice("\4\0\0\0", 4), rows, NULL);
  c->base.ops->unsubscribe_applied(&c->base, &op, rows, 2);
}
/* The frames in `out`; whether the last thing said is that the client is to be dropped. */
static uint32_t frames(struct lc_slice out, bool *dropped) {
  struct lc_reader r = lc_reader(out);
  uint32_t n_frames = 0;
  for (*dropped = false; lc_reader_left(&r); n_frames++) {
    uint32_t n = lc_read_u32(&r);
    if (n == FRAME_ABORT) {
      *dropped = true;
      return n_frames;
    }
    assert_non_null(lc_read_raw(&r, n));
  }
  return n_frames;
}
static void every_allocation(void **state) {
  (void)state;
  for (int protocol = 0; protocol < N_PROTOCOLS; protocol++) {
    struct ws_client whole = client(protocol);
    bool dropped;
    say_all(&whole);
    assert_int_equal(frames(lc_buf_slice(&whole.base.out), &dropped), protocol == V3 ? 1 : 6);
    assert_false(dropped);
    int64_t n = 0;
    for (bool failed = true; failed; n++) {
      struct ws_client c = client(protocol);
      fail_alloc(n);
      say_all(&c);
      failed = allocs_left < 0;
      fail_alloc(-1);
      frames(lc_buf_slice(&c.base.out), &dropped);
      assert_int_equal(dropped, failed);
      assert_int_equal(c.is_marked, failed);
      if (!failed && protocol != JSON && protocol != V1) assert_true(lc_slice_eq(lc_buf_slice(&c.base.out), lc_buf_slice(&whole.base.out))); /* v1 tells times */
      lc_buf_free(&c.base.out);
    }
    assert_true(n > 3);
    lc_buf_free(&whole.base.out);
  }
}
/* A client that is dropped while a v3 frame is being filled: what comes after does not go into that frame, nor over the mark. */
static void dropped_in_the_middle(void **state) {
  (void)state;
  for (int protocol = 0; protocol < N_PROTOCOLS; protocol++)
    for (int first = 0; first < 2; first++) {
      struct ws_client c = client(protocol);
      bool dropped;
      if (first) say_all(&c);
      c.base.ops->overflow(&c.base);
      size_t len = c.base.out.len;
      say_all(&c);
      assert_int_equal(frames(lc_buf_slice(&c.base.out), &dropped), !first ? 0 : protocol == V3 ? 1 : 6);
      assert_true(dropped);
      assert_true(c.base.out.len > len);
      lc_buf_free(&c.base.out);
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation), cmocka_unit_test(dropped_in_the_middle)};
  struct lc_error err;
  struct lc_datastore *ds;
  const struct lc_tx_delta *change;
  struct lc_module_def *def = def_text("table t\n col k u32 pk\n col s u64\n");
  struct lc_tx *tx = lc_datastore_new(&lc_env_system, &ds, &err) == LC_OK ? lc_tx_begin(ds) : NULL;
  if (!tx || lc_schema_create(tx, def, &(struct lc_module_facts){.program_bytes = lc_slice_str("program")}, &err) != LC_OK) return 1;
  lc_tx_commit(tx, &change);
  lc_tx_delta_release(ds, change);
  lc_module_def_free(def);
  const struct lc_table_info *t = lc_datastore_table_by_name(ds, lc_slice_str("t"));
  struct lc_buf b = {.data = list, .cap = sizeof list};
  lc_buf_u8(&b, 0);
  lc_buf_u16(&b, 12);
  lc_buf_u32(&b, 12 * 200);
  for (uint32_t i = 0; i < 200; i++) {
    lc_buf_u32(&b, i);
    lc_buf_u64(&b, i);
  }
  rows[0] = (struct lc_query_rows){.table = t, .table_name = lc_slice_str("t"), .n_rows = 200, .row_list = lc_buf_slice(&b)};
  rows[1] = rows[0];
  delta = (struct lc_query_delta){.table = t, .table_name = rows[0].table_name, .n_inserts = 200, .n_deletes = 200, .inserts = rows[0].row_list, .deletes = rows[0].row_list};
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  for (int i = 0; i < 3; i++) lc_buf_free(&delta.cached[i]);
  lc_datastore_free(ds);
  return failed;
}
