/* Load generator: N WebSocket connections of protocol v2 or v3 with K reducer calls in flight each, and subscribers; one JSON line at the end.
 *
 * Single-threaded, epoll, plain libc: what it measures is the server. Server CPU is utime + stime of --pid over the measured stretch.
 * Usage: see `usage` below. Exit status 1 when a connection broke, an answer was not understood, did not belong to the oldest
 * call in flight (answers come in call order) or was an internal error. Only successful calls count as transactions.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static const char usage[] =
    "loadgen --url http://HOST:PORT --db NAME [--protocol v2|v3] [--connections N] [--in-flight K] [--seconds S] [--warmup S]\n"
    "        [--confirmed true|false] [--accounts N] [--dist uniform|zipf:THETA] [--subscribers N] [--subscribe-query SQL with {k}] [--queries-each N]\n"
    "        [--pid SERVER_PID] [--seed N] [--token JWT] [--workload transfer|NAME:HEXARGS] [--seed-accounts N] [--one-call NAME HEXARGS]\n"
    "Calls the reducer `transfer(from: u32, to: u32, amount: i64)`, or NAME always with the same BSATN arguments. --seed-accounts calls\n"
    "`seed(n: u32, balance: i64)` once and ends, --one-call the reducer NAME.\n";

_Noreturn static void die(const char *fmt, ...) {
  va_list a;
  va_start(a, fmt);
  fputs("loadgen: ", stderr);
  vfprintf(stderr, fmt, a);
  fputc('\n', stderr);
  exit(1);
}
static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}
static uint64_t rng_state = 88172645463325252u;
static uint64_t rng(void) { /* splitmix64 */
  uint64_t z = rng_state += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

/* ---- options ---- */

static struct {
  char host[256], port[16];
  const char *db, *token, *subscribe_query, *workload;
  const char *one_call;           /* reducer of --one-call and --seed-accounts */
  uint8_t args[4096];             /* BSATN arguments of one_call, or of a workload that is not `transfer` */
  uint32_t args_len;
  bool v3, confirmed;
  unsigned connections, in_flight, accounts, subscribers, queries_each, seed_accounts;
  double seconds, warmup, zipf;
  int pid;
} o = {.db = "bench", .v3 = true, .confirmed = true, .connections = 64, .in_flight = 40, .accounts = 100000, .queries_each = 1, .seconds = 10, .warmup = 2, .subscribe_query = "SELECT * FROM accounts", .workload = "transfer"};

/* ---- choice of accounts: uniform, or zipf by a table of cumulative weights ---- */

static double *zipf_sum;
static uint32_t account(void) {
  if (!zipf_sum) return (uint32_t)(rng() % o.accounts);
  double u = (double)(rng() >> 11) * 0x1p-53 * zipf_sum[o.accounts - 1];
  uint32_t low = 0, high = o.accounts - 1;
  while (low < high) {
    uint32_t mid = low + (high - low) / 2;
    if (zipf_sum[mid] < u) low = mid + 1;
    else high = mid;
  }
  return low;
}

/* ---- latency histogram: 64 steps per doubling of ns ---- */

enum { SUB = 64, BUCKETS = 64 * SUB };
static uint64_t histogram[BUCKETS];
static void record(uint64_t ns) {
  unsigned log = ns < SUB ? 0 : 63 - (unsigned)__builtin_clzll(ns) - 5; /* SUB = 2^6 */
  uint64_t at = log ? (uint64_t)log * SUB + (ns >> log) - SUB / 2 : ns;
  histogram[at < BUCKETS ? at : BUCKETS - 1]++;
}
static double quantile_ms(double q) {
  uint64_t total = 0, seen = 0;
  for (unsigned i = 0; i < BUCKETS; i++) total += histogram[i];
  for (unsigned i = 0; i < BUCKETS; i++) {
    seen += histogram[i];
    if (total && (double)seen >= q * (double)total) {
      unsigned log = i / SUB;
      return (log ? (double)((uint64_t)(i % SUB + SUB / 2) << log) : (double)i) / 1e6;
    }
  }
  return 0;
}

/* ---- connections ---- */

enum { KEPT_INPUT_BYTES = 256 << 10 };

struct conn {
  int fd;
  bool subscriber, writing;
  uint8_t key[4];         /* masking key of every frame */
  bool fragmented;        /* `message` holds the first fragments of a message */
  uint8_t *message; size_t message_len, message_cap;
  uint8_t *in; size_t in_len, in_cap;
  uint8_t *out; size_t out_len, out_at, out_cap;
  uint64_t *sent_at;      /* by request id modulo in_flight */
  uint32_t next_id, next_answer;
};
static struct conn *conns;
static int ep;
static uint64_t n_ok, n_user_errors, n_internal_errors, n_rows, n_ready, n_updates;
static uint64_t call_time;  /* taken once for the calls of one batch */
static char answer_text[512];  /* the last error, for --one-call */
static bool measuring, stopping;
static bool fixed_args;  /* every call of the workload has o.args */

static void out_reserve(struct conn *c, size_t n) {
  if (c->out_len + n <= c->out_cap) return;
  c->out_cap = (c->out_len + n) * 2;
  if (!(c->out = realloc(c->out, c->out_cap))) die("out of memory");
}
static void flush(struct conn *c) {
  while (c->out_at < c->out_len) {
    ssize_t n = write(c->fd, c->out + c->out_at, c->out_len - c->out_at);
    if (n < 0 && errno == EAGAIN) break;
    if (n <= 0) die("a connection broke while writing: %s", strerror(errno));
    c->out_at += (size_t)n;
  }
  bool writing = c->out_at < c->out_len;
  if (!writing) c->out_at = c->out_len = 0;
  if (writing != c->writing) {
    struct epoll_event e = {.events = EPOLLIN | (writing ? (uint32_t)EPOLLOUT : 0u), .data.ptr = c};
    epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e);
    c->writing = writing;
  }
}

/* A client frame is masked; the key is drawn once per connection. Room for the longest head comes first and is closed up by frame_end. */
static size_t frame_begin(struct conn *c, size_t max_payload) {
  out_reserve(c, max_payload + 14);
  size_t at = c->out_len;
  c->out_len += 14;
  return at;
}
static void frame_end(struct conn *c, size_t at) {
  size_t n = c->out_len - at - 14, head = n < 126 ? 6 : n < 65536 ? 8 : 14;
  uint8_t h[14] = {0x82};
  if (n < 126) {
    h[1] = (uint8_t)(0x80 | n);
  } else if (n < 65536) {
    h[1] = 0xfe;
    h[2] = (uint8_t)(n >> 8);
    h[3] = (uint8_t)n;
  } else {
    h[1] = 0xff;
    for (unsigned i = 0; i < 8; i++) h[2 + i] = (uint8_t)((uint64_t)n >> (56 - 8 * i));
  }
  memcpy(h + head - 4, c->key, 4);
  uint8_t *from = c->out + at + 14, *to = c->out + at + head;
  uint64_t wide, v;
  memcpy(&wide, c->key, 4);
  memcpy((uint8_t *)&wide + 4, c->key, 4);
  size_t i = 0;
  for (; i + 8 <= n; i += 8) { /* `to` never overtakes `from` */
    memcpy(&v, from + i, 8);
    v ^= wide;
    memcpy(to + i, &v, 8);
  }
  for (; i < n; i++) to[i] = from[i] ^ c->key[i & 3];
  memcpy(c->out + at, h, head);
  c->out_len -= 14 - head;
}
static void put(struct conn *c, const void *p, size_t n) {
  out_reserve(c, n);
  memcpy(c->out + c->out_len, p, n);
  c->out_len += n;
}
static void put_u32(struct conn *c, uint32_t v) { put(c, &v, 4); }
static void put_call(struct conn *c, const char *name, const void *args, uint32_t n) {
  uint32_t len = (uint32_t)strlen(name);
  put(c, "\x03", 1);
  put_u32(c, c->next_id);
  c->sent_at[c->next_id++ % o.in_flight] = call_time;
  put(c, "", 1);
  put_u32(c, len);
  put(c, name, len);
  put_u32(c, n);
  put(c, args, n);
}
static void put_workload(struct conn *c) {
  if (fixed_args) {
    put_call(c, o.workload, o.args, o.args_len);
    return;
  }
  struct __attribute__((packed)) { uint32_t from, to; int64_t amount; } args = {account(), account(), 1};
  while (args.to == args.from) args.to = account();
  put_call(c, "transfer", &args, sizeof args);
}
/* `n` calls: one frame in v3, one each in v2. */
static void send_calls(struct conn *c, unsigned n) {
  call_time = now_ns();
  for (unsigned i = 0; i < n;) {
    size_t at = frame_begin(c, 64);
    do put_workload(c), i++;
    while (o.v3 && i < n);
    frame_end(c, at);
  }
}
static void subscribe(struct conn *c, unsigned index) {
  char sql[1024];
  const char *k = strstr(o.subscribe_query, "{k}");
  size_t at = frame_begin(c, (size_t)o.queries_each * (strlen(o.subscribe_query) + 16) + 32);
  put(c, "", 1);
  put_u32(c, 1);
  put_u32(c, 1);
  put_u32(c, o.queries_each);
  for (unsigned i = 0; i < o.queries_each; i++) {
    if (k) snprintf(sql, sizeof sql, "%.*s%u%s", (int)(k - o.subscribe_query), o.subscribe_query, index * o.queries_each + i, k + 3);
    else snprintf(sql, sizeof sql, "%s", o.subscribe_query);
    put_u32(c, (uint32_t)strlen(sql));
    put(c, sql, strlen(sql));
  }
  frame_end(c, at);
}

/* ---- messages of the server ---- */

static uint32_t take_u32(const uint8_t **p, const uint8_t *end) {
  uint32_t v;
  if (end - *p < 4) die("a message of the server ends too early");
  memcpy(&v, *p, 4);
  *p += 4;
  return v;
}
static uint8_t take_u8(const uint8_t **p, const uint8_t *end) {
  if (*p >= end) die("a message of the server ends too early");
  return *(*p)++;
}
static void skip(const uint8_t **p, const uint8_t *end, size_t n) {
  if ((size_t)(end - *p) < n) die("a message of the server ends too early");
  *p += n;
}
/* BsatnRowList; counts its rows. */
static uint64_t skip_rows(const uint8_t **p, const uint8_t *end) {
  uint64_t rows = 0, size = 0;
  uint8_t tag = take_u8(p, end);
  if (tag == 0) {
    size = take_u8(p, end);
    size |= (uint64_t)take_u8(p, end) << 8;
    if (!size) die("a list of rows of no bytes");
  } else if (tag == 1) {
    rows = take_u32(p, end);
    skip(p, end, rows * 8);
  } else {
    die("list of rows with unknown tag %u", tag);
  }
  uint32_t bytes = take_u32(p, end);
  skip(p, end, bytes);
  return tag == 0 ? bytes / size : rows;
}
static void skip_sets(const uint8_t **p, const uint8_t *end) {
  for (uint32_t sets = take_u32(p, end); sets; sets--) {
    take_u32(p, end);
    for (uint32_t tables = take_u32(p, end); tables; tables--) {
      skip(p, end, take_u32(p, end));
      for (uint32_t n = take_u32(p, end); n; n--) {
        uint8_t event = take_u8(p, end);
        uint64_t rows = skip_rows(p, end);
        if (!event) rows += skip_rows(p, end);
        if (measuring) n_rows += rows;
      }
    }
  }
}
/* One payload; returns how many calls were answered. */
static unsigned payload(struct conn *c, const uint8_t *p, const uint8_t *end) {
  unsigned answered = 0;
  uint64_t now = 0;
  if (p >= end || *p++ != 0) die("the server compresses although it was told not to");
  while (p < end) {
    uint8_t tag = *p++;
    switch (tag) {
    case 0: /* initial connection */
      skip(&p, end, 48);
      skip(&p, end, take_u32(&p, end));
      if (!c->subscriber) n_ready++;
      break;
    case 1: { /* subscribe applied */
      skip(&p, end, 8);
      for (uint32_t tables = take_u32(&p, end); tables; tables--) {
        skip(&p, end, take_u32(&p, end));
        skip_rows(&p, end);
      }
      n_ready++;
      break;
    }
    case 4:
      if (measuring) n_updates++;
      skip_sets(&p, end);
      break;
    case 6: { /* reducer result */
      uint32_t id = take_u32(&p, end);
      skip(&p, end, 8);
      if (id != c->next_answer || id == c->next_id) die("answer to call %u, the oldest in flight is %u", id, c->next_answer);
      c->next_answer++;
      uint8_t kind = take_u8(&p, end);
      if (kind == 0) {
        skip(&p, end, take_u32(&p, end));
        skip_sets(&p, end);
      } else if (kind == 2 || kind == 3) {
        uint32_t n = take_u32(&p, end);
        const uint8_t *text = p;
        skip(&p, end, n);
        if (kind == 2 && n >= 4) text += 4, n -= 4; /* the error is BSATN of a string */
        snprintf(answer_text, sizeof answer_text, "%.*s", n < sizeof answer_text ? (int)n : (int)sizeof answer_text - 1, (const char *)text);
      } else if (kind != 1) {
        die("outcome with unknown tag %u", kind);
      }
      if (measuring) {
        if (!now) now = now_ns();
        record(now - c->sent_at[id % o.in_flight]);
        if (kind < 2) n_ok++;
        else if (kind == 2) n_user_errors++;
        else n_internal_errors++;
      }
      answered++;
      break;
    }
    case 3: { /* subscription error */
      if (take_u8(&p, end) == 0) skip(&p, end, 4);
      skip(&p, end, 4);
      uint32_t n = take_u32(&p, end);
      const uint8_t *text = p;
      skip(&p, end, n);
      die("a subscription was refused: %.*s", (int)(n < 1000 ? n : 1000), (const char *)text);
    }
    default: die("message with unknown tag %u", tag);
    }
  }
  return answered;
}

/* A frame of a fragmented message; the message is understood when its last frame is there. */
static unsigned fragment(struct conn *c, uint8_t op, bool fin, const uint8_t *p, size_t n) {
  if ((op == 2) == c->fragmented) die("a continuation without a beginning, or a message within a message");
  if (c->message_len + n > c->message_cap) {
    c->message_cap = (c->message_len + n) * 2;
    if (!(c->message = realloc(c->message, c->message_cap))) die("out of memory");
  }
  memcpy(c->message + c->message_len, p, n);
  c->message_len += n;
  c->fragmented = !fin;
  if (!fin) return 0;
  unsigned answered = payload(c, c->message, c->message + c->message_len);
  c->message_len = 0;
  if (c->message_cap > KEPT_INPUT_BYTES) {
    free(c->message);
    c->message = NULL;
    c->message_cap = 0;
  }
  return answered;
}

static void on_readable(struct conn *c) {
  unsigned answered = 0;
  for (;;) {
    if (c->in_cap - c->in_len < 65536) {
      c->in_cap = c->in_cap * 2 + 131072;
      if (!(c->in = realloc(c->in, c->in_cap))) die("out of memory");
    }
    size_t room = c->in_cap - c->in_len;
    ssize_t n = read(c->fd, c->in + c->in_len, room);
    if (n < 0 && errno == EAGAIN) break;
    if (n <= 0) die("the server closed a connection");
    c->in_len += (size_t)n;
    if ((size_t)n < room) break;
  }
  size_t at = 0;
  while (c->in_len - at >= 2) {
    const uint8_t *b = c->in + at;
    uint64_t n = b[1] & 127;
    size_t head = 2;
    if (n == 126) {
      if (c->in_len - at < 4) break;
      n = (uint64_t)(b[2] << 8 | b[3]);
      head = 4;
    } else if (n == 127) {
      if (c->in_len - at < 10) break;
      n = 0;
      for (unsigned i = 0; i < 8; i++) n = n << 8 | b[2 + i];
      head = 10;
    }
    if (c->in_len - at < head + n) break;
    uint8_t op = b[0] & 15;
    bool fin = b[0] & 0x80;
    if (b[0] & 0x70 || b[1] & 0x80) die("a frame with reserved bits or a mask");
    if (op == 2 && fin && !c->fragmented) {
      answered += payload(c, b + head, b + head + n);
    } else if (op == 0 || op == 2) {
      answered += fragment(c, op, fin, b + head, n);
    } else if (op == 9) { /* ping → pong */
      size_t f = frame_begin(c, 125);
      put(c, b + head, n);
      frame_end(c, f);
      c->out[f] = 0x8a;
    } else if (op == 8) {
      die("the server closes: %.*s", (int)(n > 2 ? n - 2 : 0), n > 2 ? (const char *)b + head + 2 : "");
    } else if (op != 10) {
      die("frame with unknown opcode %u", op);
    }
    at += head + n;
  }
  if ((c->in_len -= at)) {
    memmove(c->in, c->in + at, c->in_len);
  } else if (c->in_cap > KEPT_INPUT_BYTES) { /* the first rows of a subscription are large, what follows is not */
    free(c->in);
    c->in = NULL;
    c->in_cap = 0;
  }
  if (answered && !stopping) send_calls(c, answered);
  flush(c);
}

static void dial(struct conn *c) {
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
  if (getaddrinfo(o.host, o.port, &hints, &found)) die("cannot resolve %s", o.host);
  c->fd = socket(found->ai_family, SOCK_STREAM, 0);
  if (c->fd < 0 || connect(c->fd, found->ai_addr, found->ai_addrlen)) die("cannot connect to %s:%s: %s", o.host, o.port, strerror(errno));
  freeaddrinfo(found);
  int on = 1;
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  char text[16384];
  int n = snprintf(text, sizeof text,
                   "GET /v1/database/%s/subscribe?compression=None&confirmed=%s HTTP/1.1\r\nHost: %s:%s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                   "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: %s.bsatn.spacetimedb\r\n%s%s%s\r\n",
                   o.db, o.confirmed ? "true" : "false", o.host, o.port, o.v3 ? "v3" : "v2", o.token ? "Authorization: Bearer " : "", o.token ? o.token : "", o.token ? "\r\n" : "");
  if (n < 0 || (size_t)n >= sizeof text) die("the token or the name of the database is too long");
  if (write(c->fd, text, (size_t)n) != n) die("cannot write the request");
  size_t got = 0;
  char *end = NULL;
  while (!end) { /* byte by byte: what follows the head belongs to the WebSocket */
    if (got + 1 >= sizeof text || read(c->fd, text + got, 1) != 1) die("no answer to the upgrade");
    text[++got] = 0;
    if (got >= 4 && !memcmp(text + got - 4, "\r\n\r\n", 4)) end = text + got;
  }
  if (strncmp(text, "HTTP/1.1 101 ", 13)) die("the upgrade was refused: %s", text);
  fcntl(c->fd, F_SETFL, O_NONBLOCK);
  if (!(c->sent_at = calloc(o.in_flight, sizeof *c->sent_at))) die("out of memory");
  uint32_t key = (uint32_t)rng() | 1u;
  memcpy(c->key, &key, 4);
  struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
  epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &e);
}

static void turn(int timeout_ms) {
  struct epoll_event events[256];
  int n = epoll_wait(ep, events, 256, timeout_ms);
  for (int i = 0; i < n; i++) {
    struct conn *c = events[i].data.ptr;
    if (events[i].events & EPOLLOUT) flush(c);
    if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) on_readable(c);
  }
}
static void run_until(uint64_t end) {
  for (uint64_t now; (now = now_ns()) < end;) turn((int)((end - now) / 1000000) + 1);
}

/* ---- the server's processor time and memory ---- */

static double cpu_seconds(void) {
  char path[64], text[1024];
  if (!o.pid) return 0;
  snprintf(path, sizeof path, "/proc/%d/stat", o.pid);
  FILE *f = fopen(path, "r");
  if (!f || !fgets(text, sizeof text, f)) die("no process %d", o.pid);
  fclose(f);
  unsigned long user = 0, sys = 0;
  if (sscanf(strrchr(text, ')') + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &sys) != 2) die("cannot read %s", path);
  return (double)(user + sys) / (double)sysconf(_SC_CLK_TCK);
}
static double rss_mb(void) {
  char path[64], line[256];
  double kib = 0;
  if (!o.pid) return 0;
  snprintf(path, sizeof path, "/proc/%d/status", o.pid);
  FILE *f = fopen(path, "r");
  while (f && fgets(line, sizeof line, f))
    if (sscanf(line, "VmRSS: %lf", &kib) == 1) break;
  if (f) fclose(f);
  return kib / 1024;
}

static unsigned number(const char *option, const char *v) {
  char *end;
  errno = 0;
  unsigned long n = strtoul(v, &end, 10);
  if (errno || end == v || *end || *v == '-' || n > UINT32_MAX) die("%s wants a number, not %s", option, v);
  return (unsigned)n;
}
static double positive(const char *option, const char *v) {
  char *end;
  double n = strtod(v, &end);
  if (end == v || *end || !(n >= 0 && n < 1e6)) die("%s wants a number, not %s", option, v);
  return n;
}
static bool choice(const char *option, const char *v, const char *yes, const char *no) {
  if (strcmp(v, yes) && strcmp(v, no)) die("%s wants %s or %s, not %s", option, yes, no, v);
  return !strcmp(v, yes);
}
static void hex_args(const char *v) {
  static const char digits[] = "0123456789abcdef";
  size_t n = strlen(v);
  if (n % 2 || n / 2 > sizeof o.args) die("arguments must be an even number of hex digits, at most %zu bytes", sizeof o.args);
  for (size_t i = 0; i < n; i++) {
    const char *d = strchr(digits, v[i] | 0x20);
    if (!d || !*d) die("arguments must be hex digits, not %s", v);
    o.args[i / 2] = (uint8_t)(o.args[i / 2] << 4 | (d - digits));
  }
  o.args_len = (uint32_t)(n / 2);
}

static void parse(int argc, char **argv) {
  for (int i = 1; i < argc; i += 2) {
    const char *k = argv[i], *v = i + 1 < argc ? argv[i + 1] : NULL;
    if (!strcmp(k, "--help")) {
      fputs(usage, stdout);
      exit(0);
    }
    if (!v) die("%s wants a value\n%s", k, usage);
    if (!strcmp(k, "--url")) {
      if (sscanf(v, "http://%255[^:]:%15[0-9]", o.host, o.port) != 2) die("--url must be http://HOST:PORT");
    } else if (!strcmp(k, "--db")) o.db = v;
    else if (!strcmp(k, "--token")) o.token = v;
    else if (!strcmp(k, "--protocol")) o.v3 = choice(k, v, "v3", "v2");
    else if (!strcmp(k, "--connections")) o.connections = number(k, v);
    else if (!strcmp(k, "--in-flight")) o.in_flight = number(k, v);
    else if (!strcmp(k, "--seconds")) o.seconds = positive(k, v);
    else if (!strcmp(k, "--warmup")) o.warmup = positive(k, v);
    else if (!strcmp(k, "--confirmed")) o.confirmed = choice(k, v, "true", "false");
    else if (!strcmp(k, "--accounts")) o.accounts = number(k, v);
    else if (!strcmp(k, "--dist")) {
      if (strcmp(v, "uniform") && strncmp(v, "zipf:", 5)) die("--dist wants uniform or zipf:THETA, not %s", v);
      o.zipf = *v == 'z' ? positive(k, v + 5) : 0;
    }
    else if (!strcmp(k, "--subscribers")) o.subscribers = number(k, v);
    else if (!strcmp(k, "--subscribe-query")) o.subscribe_query = v;
    else if (!strcmp(k, "--queries-each")) o.queries_each = number(k, v);
    else if (!strcmp(k, "--pid")) o.pid = (int)number(k, v);
    else if (!strcmp(k, "--seed")) rng_state += number(k, v);
    else if (!strcmp(k, "--seed-accounts")) o.seed_accounts = number(k, v);
    else if (!strcmp(k, "--workload")) {
      char *colon = strchr(argv[i + 1], ':');
      if (colon) {
        *colon = 0;
        hex_args(colon + 1);
      } else if (strcmp(v, "transfer")) {
        die("--workload wants transfer or NAME:HEXARGS");
      }
      fixed_args = colon != NULL;
      o.workload = v;
    } else if (!strcmp(k, "--one-call")) {
      if (i + 2 >= argc) die("--one-call wants a reducer and its arguments in hex");
      o.one_call = v;
      hex_args(argv[++i + 1]);
    }
    else die("unknown option %s\n%s", k, usage);
  }
  if (!*o.host) die("--url is missing\n%s", usage);
  if (o.in_flight == 0 || o.connections == 0 || o.accounts < 2) die("--connections, --in-flight and --accounts must be positive, and two accounts at least");
  if (strlen(o.workload) > 256 || strlen(o.subscribe_query) > 1000) die("a name or query is too long");
  if (o.seed_accounts) {
    int64_t balance = 1000000000;
    memcpy(o.args, &o.seed_accounts, 4);
    memcpy(o.args + 4, &balance, 8);
    o.args_len = 12;
    o.one_call = "seed";
  }
  if (o.one_call) o.connections = o.in_flight = 1, o.subscribers = 0;
}

/* --one-call and --seed-accounts: one call, its outcome as a JSON line. */
static int one_call(void) {
  measuring = stopping = true;
  call_time = now_ns();
  size_t at = frame_begin(&conns[0], o.args_len + 300);
  put_call(&conns[0], o.one_call, o.args, o.args_len);
  frame_end(&conns[0], at);
  flush(&conns[0]);
  while (!n_ok && !n_user_errors && !n_internal_errors) turn(100);
  printf("{\"reducer\":\"%s\",\"outcome\":\"%s\",\"ms\":%.3f}\n", o.one_call, n_ok ? "ok" : n_user_errors ? "error" : "internal error", (double)(now_ns() - call_time) / 1e6);
  if (!n_ok) die("%s", answer_text);
  return 0;
}
/* A figure that was not measured (no --pid, nothing to divide by) is null, never 0. */
static void optional(char *text, size_t n, const char *format, double value, double by) {
  if (o.pid && by > 0) snprintf(text, n, format, value / by);
  else snprintf(text, n, "null");
}
static void wait_ready(uint64_t wanted) {
  uint64_t limit = now_ns() + 60000000000u;
  while (n_ready < wanted) {
    turn(100);
    if (now_ns() > limit) die("only %lu of %lu connections are ready after 60 s", (unsigned long)n_ready, (unsigned long)wanted);
  }
}

int main(int argc, char **argv) {
  parse(argc, argv);
  struct rlimit files;
  if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
  }
  if (o.zipf > 0) {
    if (!(zipf_sum = malloc(o.accounts * sizeof *zipf_sum))) die("out of memory");
    double sum = 0;
    for (unsigned i = 0; i < o.accounts; i++) zipf_sum[i] = sum += 1 / pow(i + 1, o.zipf);
  }
  ep = epoll_create1(0);
  unsigned n = o.connections + o.subscribers;
  if (!(conns = calloc(n, sizeof *conns))) die("out of memory");
  for (unsigned i = 0; i < n; i++) {
    conns[i].subscriber = i >= o.connections;
    dial(&conns[i]);
    if (conns[i].subscriber) { /* one after another: their first rows would fill the memory of this process */
      subscribe(&conns[i], i - o.connections);
      flush(&conns[i]);
      wait_ready(i + 1);
    }
  }
  wait_ready(n);
  if (o.one_call) return one_call();
  for (unsigned i = 0; i < o.connections; i++) {
    send_calls(&conns[i], o.in_flight);
    flush(&conns[i]);
  }
  run_until(now_ns() + (uint64_t)(o.warmup * 1e9));
  measuring = true;
  uint64_t start = now_ns();
  double cpu = cpu_seconds();
  run_until(start + (uint64_t)(o.seconds * 1e9));
  double seconds = (double)(now_ns() - start) / 1e9, used = cpu_seconds() - cpu;
  measuring = false;
  stopping = true;
  char per_tx[32], per_delta[32], rss[32];
  optional(per_tx, sizeof per_tx, "%.3f", used * 1e6, (double)n_ok);
  optional(per_delta, sizeof per_delta, "%.3f", used * 1e6, (double)n_updates);
  optional(rss, sizeof rss, "%.1f", rss_mb(), 1);
  printf("{\"workload\":\"%s\",\"protocol\":\"%s\",\"confirmed\":%s,\"connections\":%u,\"in_flight\":%u,\"accounts\":%u,\"zipf\":%.2f,\"subscribers\":%u,\"seconds\":%.2f,\"transactions\":%lu,\"tps\":%.0f,"
         "\"server_cpu_us_per_tx\":%s,\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"p999_ms\":%.3f,\"errors\":%lu,\"user_errors\":%lu,\"internal_errors\":%lu,\"deltas\":%lu,\"deltas_per_s\":%.0f,\"delta_rows\":%lu,"
         "\"server_cpu_us_per_delta\":%s,\"rss_mb\":%s}\n",
         o.workload, o.v3 ? "v3" : "v2", o.confirmed ? "true" : "false", o.connections, o.in_flight, o.accounts, o.zipf, o.subscribers, seconds, (unsigned long)n_ok, (double)n_ok / seconds,
         per_tx, quantile_ms(0.5), quantile_ms(0.99), quantile_ms(0.999), (unsigned long)(n_user_errors + n_internal_errors), (unsigned long)n_user_errors, (unsigned long)n_internal_errors,
         (unsigned long)n_updates, (double)n_updates / seconds, (unsigned long)n_rows, per_delta, rss);
  if (!n_ok) fprintf(stderr, "loadgen: no call succeeded; the last error: %s\n", answer_text);
  return n_internal_errors || !n_ok;
}
