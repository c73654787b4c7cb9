/* Owns: compression of what WebSocket clients are sent (spec/03 §4), on the network thread that sends it.
 *
 * What several clients of one outbox are sent alike is compressed once: a frame is looked for among the ones compressed before it, by its bytes. Callers: ws.c.
 */
#include "server.h"
#include <brotli/encode.h>
#include <zlib.h>

enum { THRESHOLD_BYTES = 1024, MAX_KEPT = 64 };
static const size_t MAX_KEPT_BYTES = 16u << 20;

struct kept { uint64_t hash; struct lc_slice frame; enum ws_compression compression; struct lc_buf packed; }; /* frame: in the outbox */
struct ws_packer {
  z_stream gzip; bool has_gzip;
  struct kept kept[MAX_KEPT]; uint32_t n_kept; size_t kept_bytes;
  struct lc_buf scratch;
};

static bool gzip(struct ws_packer *p, struct lc_slice body, struct lc_buf *out) {
  if (body.len > UINT32_MAX) return false;
  if (!p->has_gzip && deflateInit2(&p->gzip, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK) return false;
  if (p->has_gzip) deflateReset(&p->gzip);
  p->has_gzip = true;
  size_t bound = deflateBound(&p->gzip, (uLong)body.len);
  if (bound > UINT32_MAX || !lc_buf_reserve(out, bound)) return false;
  p->gzip.next_in = (Bytef *)(uintptr_t)body.data;
  p->gzip.avail_in = (uInt)body.len;
  p->gzip.next_out = out->data + out->len;
  p->gzip.avail_out = (uInt)bound;
  if (deflate(&p->gzip, Z_FINISH) != Z_STREAM_END) return false;
  out->len += bound - p->gzip.avail_out;
  return true;
}
static bool brotli(struct lc_slice body, struct lc_buf *out) {
  size_t n = BrotliEncoderMaxCompressedSize(body.len);
  if (!n || !lc_buf_reserve(out, n)) return false;
  if (!BrotliEncoderCompress(1, BROTLI_DEFAULT_WINDOW, BROTLI_DEFAULT_MODE, body.len, body.data, &n, out->data + out->len)) return false;
  out->len += n;
  return true;
}
static bool pack(struct ws_packer *p, enum ws_compression compression, struct lc_slice frame, struct lc_buf *out) {
  struct lc_slice body = lc_slice(frame.data + 1, frame.len - 1);
  lc_buf_clear(out);
  lc_buf_u8(out, (uint8_t)compression);
  return (compression == WS_GZIP ? gzip(p, body, out) : brotli(body, out)) && lc_buf_ok(out);
}

struct lc_slice ws_pack(struct ws_packer *p, enum ws_compression compression, struct lc_slice frame) {
  if (compression == WS_PLAIN || frame.len - 1 <= THRESHOLD_BYTES || frame.data[0] != WS_PLAIN || !p) return frame;
  uint64_t hash = lc_hash64(frame.data, frame.len, compression);
  for (uint32_t i = p->n_kept; i--;) {
    struct kept *k = &p->kept[i];
    if (k->hash == hash && k->compression == compression && lc_slice_eq(k->frame, frame)) return lc_buf_slice(&k->packed);
  }
  bool keep = p->n_kept < MAX_KEPT && p->kept_bytes < MAX_KEPT_BYTES;
  struct lc_buf *out = keep ? &p->kept[p->n_kept].packed : &p->scratch;
  if (!pack(p, compression, frame, out)) { /* no memory: as it is, which every client takes */
    lc_buf_free(out);
    return frame;
  }
  if (keep) {
    struct kept *k = &p->kept[p->n_kept++];
    k->hash = hash;
    k->frame = frame;
    k->compression = compression;
    p->kept_bytes += k->packed.cap;
  }
  return lc_buf_slice(out);
}

void ws_pack_end(struct ws_packer *p) {
  for (uint32_t i = 0; p && i < p->n_kept; i++) lc_buf_free(&p->kept[i].packed);
  if (!p) return;
  lc_buf_free(&p->scratch);
  p->n_kept = 0;
  p->kept_bytes = 0;
}
struct ws_packer *ws_packer_new(void) { return lc_alloc_zero(1, sizeof(struct ws_packer)); }
void ws_packer_free(struct ws_packer *p) {
  if (!p) return;
  ws_pack_end(p);
  if (p->has_gzip) deflateEnd(&p->gzip);
  lc_free(p);
}
