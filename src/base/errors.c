/* Error texts and panics. lc_panic is the end of the process: it is for broken invariants and for storage that can no longer be trusted. */
#include "base.h"
#include <execinfo.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum lc_status lc_fail(struct lc_error *err, enum lc_status status, const char *fmt, ...) {
  if (!err) return status;
  char text[sizeof err->text]; /* the arguments may point into err->text */
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  err->status = status;
  memcpy(err->text, text, sizeof text);
  return status;
}

enum lc_status lc_fail_context(struct lc_error *err, const char *fmt, ...) {
  if (!err) return LC_INVALID;
  char head[sizeof err->text], text[2 * sizeof err->text + 4];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(head, sizeof head, fmt, ap);
  va_end(ap);
  snprintf(text, sizeof text, "%s: %s", head, err->text);
  memcpy(err->text, text, sizeof err->text - 1);
  err->text[sizeof err->text - 1] = 0;
  return err->status;
}

void lc_panic_at(const char *file, int line, const char *fmt, ...) {
  void *frames[64];
  va_list ap;
  va_start(ap, fmt);
  fprintf(stderr, "panic at %s:%d: ", file, line);
  vfprintf(stderr, fmt, ap);
  fputc('\n', stderr);
  va_end(ap);
  backtrace_symbols_fd(frames, backtrace(frames, 64), STDERR_FILENO);
  abort();
}
