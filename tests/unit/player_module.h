/* A module with a table `player` and a reducer that adds to it. */
#include "golden_modules.h"
#include "wat.h"

/* reducer 0, add(name): inserts (0, name); a name beginning with 'E' is an error, with 'T' a trap */
static const char program_head[] =
    "(module (import \"spacetime_10.0\" \"bytes_sink_write\" (func $sink (param i32 i32 i32) (result i32)))"
    "(import \"spacetime_10.0\" \"table_id_from_name\" (func $table (param i32 i32 i32) (result i32)))"
    "(import \"spacetime_10.0\" \"datastore_insert_bsatn\" (func $insert (param i32 i32 i32) (result i32)))"
    "(import \"spacetime_10.0\" \"bytes_source_read\" (func $read (param i32 i32 i32) (result i32)))"
    "(memory (export \"memory\") 1) (data (i32.const 512) \"nope\\04\\00\\00\\00\") (data (i32.const 540) \"player\")"
    "(func (export \"__describe_module__\") (param i32) (drop (call $sink (local.get 0) (i32.const 1024) (i32.const 1020))))"
    "(func (export \"__call_reducer__\") (param $id i32) (param i64 i64 i64 i64 i64 i64 i64) (param $args i32) (param $err i32) (result i32)"
    " (i64.store (i32.const 4096) (i64.const 0)) (i32.store (i32.const 564) (i32.const 1000))"
    " (drop (call $read (local.get $args) (i32.const 4104) (i32.const 564)))"
    " (drop (call $table (i32.const 540) (i32.const 6) (i32.const 560)))"
    " (i32.store (i32.const 564) (i32.add (i32.load (i32.const 564)) (i32.const 8)))"
    " (drop (call $insert (i32.load (i32.const 560)) (i32.const 4096) (i32.const 564)))"
    " (if (i32.eq (i32.load8_u (i32.const 4108)) (i32.const 84)) (then unreachable))"
    " (if (i32.eq (i32.load8_u (i32.const 4108)) (i32.const 69)) (then (drop (call $sink (local.get $err) (i32.const 512) (i32.const 516))) (return (i32.const 1))))"
    " (i32.const 0)) (data (i32.const 1020) \"";

static struct lc_slice program(void) {
  static char wat[16384];
  uint32_t n = (uint32_t)strlen(g1_hex) / 2;
  size_t at = (size_t)snprintf(wat, sizeof wat, "%s\\%02x\\%02x\\00\\00", program_head, n & 255, n >> 8);
  for (uint32_t i = 0; i < n; i++) at += (size_t)snprintf(wat + at, sizeof wat - at, "\\%.2s", g1_hex + 2 * i);
  snprintf(wat + at, sizeof wat - at, "\"))");
  return assemble(wat);
}
