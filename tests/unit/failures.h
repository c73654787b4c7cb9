/* Loops in which the n-th allocation, or the n-th call, fails, for n from 0 until nothing has failed any more. */
#ifndef LC_FAILURES_H
#define LC_FAILURES_H
#include <stdlib.h>

/* The n of the next round: each one up to `each`, from there on further by 1 + n / part at a time, so that the tests stay quick. With EVERY_FAILURE in the environment
 * (`make failure-campaign`) none is left out. */
static inline long next_failure(long n, long each, long part) { return n < each || getenv("EVERY_FAILURE") ? n + 1 : n + 1 + n / part; }
#endif
