/* Loops in which the n-th allocation, or the n-th call, fails, for n from 0 until nothing has failed any more. */
#ifndef LC_FAILURES_H
#define LC_FAILURES_H
#include "base/base.h"
#include <stdlib.h>

/* The n of the next round: each one up to `each`, from there on further by 1 + n / part at a time, so that the tests stay quick. With EVERY_FAILURE in the environment
 * (`make failure-campaign`) none is left out. */
static inline long next_failure(long n, long each, long part) { return n < each || getenv("EVERY_FAILURE") ? n + 1 : n + 1 + n / part; }

/* The nth allocation from now on fails (0: the next one), that one alone; failures_came says whether it did, failures_end lets all be as usual. One thread. */
static long failures_left;
static inline bool failures_take(size_t size_bytes) {
  (void)size_bytes;
  return failures_left-- == 0;
}
static inline void failures_begin(long nth) {
  failures_left = nth;
  lc_alloc_may_fail = failures_take;
}
static inline bool failures_came(void) { return failures_left < 0; }
static inline void failures_end(void) { lc_alloc_may_fail = NULL; }
#endif
