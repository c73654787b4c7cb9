/* `start`: the server in this process (spec/04 §6.1, §7.2).
 *
 * Options come from the command line and the data folder's config.toml (start_config.c). The data folder defaults to the user's. Callers: the table of cli.c.
 */
#include "../api/api.h"
#include "cli_internal.h"
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* Splits HOST:PORT (brackets around IPv6). False if it is not that. */
static bool split_address(const char *address, char host[256], unsigned *port) {
  const char *colon = strrchr(address, ':');
  if (!colon || colon == address || !colon[1] || strlen(colon + 1) > 5 || strspn(colon + 1, "0123456789") != strlen(colon + 1)) return false;
  size_t n = (size_t)(colon - address);
  if (address[0] == '[' && address[n - 1] == ']') {
    address++;
    n -= 2;
  }
  if (n == 0 || n > 255) return false;
  memcpy(host, address, n);
  host[n] = 0;
  *port = (unsigned)strtoul(colon + 1, NULL, 10);
  return *port <= 65535;
}

/* True if another process listens there. Errors other than that are left to the server, which reports them better. */
static bool port_taken(const char *host, unsigned port) {
  char service[16];
  struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM}, *list = NULL;
  bool taken = false;
  if (port == 0) return false;
  snprintf(service, sizeof service, "%u", port);
  if (getaddrinfo(host, service, &hints, &list) != 0) return false;
  for (struct addrinfo *a = list; a && !taken; a = a->ai_next) {
    int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, 0), on = 1;
    if (fd < 0) continue;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (a->ai_family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    taken = bind(fd, a->ai_addr, a->ai_addrlen) != 0 && errno == EADDRINUSE;
    close(fd);
  }
  freeaddrinfo(list);
  return taken;
}

/* Settles the address: *address is replaced if the user takes another port. */
static int choose_address(struct lc_cli *cli, bool interactive, char **address) {
  char host[256];
  unsigned port, other;
  if (!split_address(*address, host, &port)) return lc_cli_fail(cli, "invalid listen address `%s`: expected HOST:PORT", *address);
  if (!port_taken(host, port)) return 0;
  for (other = port + 1; interactive && other <= 65535 && port_taken(host, other);) other++;
  if (interactive && other <= 65535) {
    char *question = lc_cli_format("Port %u is already in use. Would you like to use port %u instead?", port, other);
    bool go = lc_cli_confirm(false, question);
    lc_free(question);
    if (go) {
      lc_free(*address);
      *address = lc_cli_format(strchr(host, ':') ? "[%s]:%u" : "%s:%u", host, other);
      return 0;
    }
  }
  return lc_cli_fail(cli, "Port %u is already in use. Please free up the port or specify a different port with --listen-addr.", port);
}

static bool number_of(const char *text, uint64_t max, uint64_t *out) {
  if (!*text || strlen(text) > 18 || strspn(text, "0123456789") != strlen(text)) return false;
  *out = strtoull(text, NULL, 10);
  return *out <= max;
}

/* NAME=MS[/MIB[/MIB]],…: entries of limits, whose names point into text, which is cut up. 0: malformed. */
static unsigned database_limits(char *text, struct lc_database_limits *limits, unsigned max) {
  unsigned n = 0;
  for (char *next, *at = text; at; at = next) {
    if ((next = strchr(at, ','))) *next++ = 0;
    char *budget = strchr(at, '='), *memory = budget ? strchr(budget, '/') : NULL, *data = memory ? strchr(memory + 1, '/') : NULL;
    if (n == max || !budget || budget == at) return 0;
    *budget++ = 0;
    if (memory) *memory++ = 0;
    if (data) *data++ = 0;
    limits[n].database = at;
    if (!number_of(budget, UINT32_MAX, &limits[n].time_budget_ms) || (memory && !number_of(memory, 4096, &limits[n].module_memory_mib)) || (data && !number_of(data, UINT32_MAX, &limits[n].data_memory_mib))) return 0;
    n++;
  }
  return n;
}

/* WHAT or NAME=WHAT, separated by commas; WHAT is all or needed, of all databases or of one. Names point into text, which is cut up. */
static bool database_retain(char *text, struct lc_database_retain *retained, unsigned max, unsigned *n, bool *all) {
  for (char *next, *at = text; at; at = next) {
    if ((next = strchr(at, ','))) *next++ = 0;
    char *what = strchr(at, '=');
    if (what) *what++ = 0;
    const char *word = what ? what : at;
    bool is_all = strcmp(word, "all") == 0;
    if ((!is_all && strcmp(word, "needed") != 0) || (what && (what == at + 1 || *n == max))) return false;
    if (what) retained[(*n)++] = (struct lc_database_retain){at, is_all};
    else *all = is_all;
  }
  return true;
}

static void make_dirs(const char *path) {
  char *copy = lc_cli_copy(path);
  for (char *p = copy + 1; *p; p++) {
    if (*p != '/') continue;
    *p = 0;
    mkdir(copy, 0777);
    *p = '/';
  }
  mkdir(copy, 0777); /* what is wrong shows when a file is opened */
  lc_free(copy);
}

/* What is wrong with a value, in the way of its source: usage of the command line, or the file's line. Returns the exit code. */
static int bad_value(struct lc_cli *cli, const struct lc_cli_start_values *v, enum lc_cli_start_id id, const char *expected) {
  const char *text = v->given[id].text, *from = v->given[id].from;
  if (strncmp(from, "--", 2) == 0) return lc_cli_usage_error(cli, "invalid value '%s' for '%s <VALUE>': %s is expected", text, from, expected);
  return lc_cli_fail(cli, "%s: %s is expected, not `%s`", from, expected, text);
}
static int check_most(struct lc_cli *cli, const struct lc_cli_start_values *v, enum lc_cli_start_id id, uint64_t least, uint64_t most) {
  char text[64];
  uint64_t n = lc_cli_start_number(v, id, least);
  if (n >= least && n <= most) return 0;
  snprintf(text, sizeof text, "a number from %llu to %llu", (unsigned long long)least, (unsigned long long)most);
  return bad_value(cli, v, id, text);
}

static bool level_of(const char *text, enum lc_log_level *level) {
  static const char *const names[] = {"error", "warn", "info", "debug", "trace"};
  for (int i = 0; i < 5; i++)
    if (strcasecmp(text, names[i]) == 0) return *level = i < 4 ? (enum lc_log_level)i : LC_LOG_DEBUG, true;
  return false;
}
/* The level of [logs] and of its directives for us. */
static int set_log_level(struct lc_cli *cli, const struct lc_cli_start_values *v) {
  static const char expected[] = "error, warn, info, debug or trace";
  const char *level = v->given[START_LOG_LEVEL].text, *directives = v->given[START_LOG_DIRECTIVES].text;
  if (level && !level_of(level, &lc_log_threshold)) return bad_value(cli, v, START_LOG_LEVEL, expected);
  char *copy = lc_cli_copy(directives ? directives : ""), *rest = copy;
  int rc = 0;
  for (char *item; rc == 0 && (item = strsep(&rest, ","));) {
    enum lc_log_level wanted;
    char *equals = strchr(item, '=');
    if (!*item) continue;
    if (!equals || !level_of(equals + 1, &wanted)) rc = bad_value(cli, v, START_LOG_DIRECTIVES, "target=level");
    else if (equals - item == 9 && strncmp(item, "lightcone", 9) == 0) lc_log_threshold = wanted;
  }
  lc_free(copy);
  return rc;
}

enum { MAX_DATABASE_LIMITS = 256 };
/* Texts that are cut up, and what points into them. */
struct lists { char *limits_text, *retain_text; struct lc_database_limits limits[MAX_DATABASE_LIMITS]; struct lc_database_retain retained[MAX_DATABASE_LIMITS]; };

static int make_options(struct lc_cli *cli, const struct lc_cli_start_values *v, struct lists *lists, struct lc_server_options *o) {
  int rc = check_most(cli, v, START_NETWORK_THREADS, 0, 256);
  if (rc == 0) rc = check_most(cli, v, START_MAX_CONNECTIONS, 1, UINT32_MAX);
  if (rc == 0) rc = check_most(cli, v, START_TIME_BUDGET_MS, 0, UINT32_MAX);
  if (rc == 0) rc = check_most(cli, v, START_MODULE_MEMORY_MIB, 0, 4096);
  if (rc == 0) rc = check_most(cli, v, START_DATA_MEMORY_MIB, 0, UINT32_MAX);
  if (rc == 0) rc = check_most(cli, v, START_MAX_SEGMENT_SIZE, 1, INT64_MAX);
  if (rc == 0) rc = check_most(cli, v, START_LOG_DAYS, 0, 100000);
  for (enum lc_cli_start_id id = START_PING_INTERVAL; rc == 0 && id <= START_CLOSE_HANDSHAKE_TIMEOUT; id++) rc = check_most(cli, v, id, 1, INT32_MAX);
  if (rc == 0) rc = set_log_level(cli, v);
  if (rc != 0) return rc;
  uint64_t pg_port = lc_cli_start_number(v, START_PG_PORT, 0);
  if (pg_port && (rc = check_most(cli, v, START_PG_PORT, 1024, 65534)) != 0) return rc;
  o->pg_port = (uint16_t)pg_port;
  o->data_memory_mib = lc_cli_start_number(v, START_DATA_MEMORY_MIB, 0);
  uint64_t interval = lc_cli_start_number(v, START_SNAPSHOT_INTERVAL, 1000000);
  o->in_memory = lc_cli_start_number(v, START_IN_MEMORY, 0);
  o->network_threads = (unsigned)lc_cli_start_number(v, START_NETWORK_THREADS, 0);
  o->max_connections = (uint32_t)lc_cli_start_number(v, START_MAX_CONNECTIONS, 0);
  o->time_budget_ms = lc_cli_start_number(v, START_TIME_BUDGET_MS, 0);
  o->module_memory_mib = lc_cli_start_number(v, START_MODULE_MEMORY_MIB, 0);
  o->snapshot_interval_transactions = interval ? interval : UINT64_MAX;
  o->max_segment_bytes = lc_cli_start_number(v, START_MAX_SEGMENT_SIZE, 0);
  o->accept_lost_transactions = lc_cli_start_number(v, START_ACCEPT_LOST, 0);
  o->count_instructions = lc_cli_start_number(v, START_COUNT_INSTRUCTIONS, 0);
  o->log_days = (uint32_t)lc_cli_start_number(v, START_LOG_DAYS, 30);
  o->log_bytes = lc_cli_start_number(v, START_LOG_SIZE, 1 << 30);
  o->no_module_http = !lc_cli_start_number(v, START_MODULE_HTTP, 1);
  o->ping_interval_ms = (uint32_t)lc_cli_start_number(v, START_PING_INTERVAL, 0);
  o->idle_timeout_ms = (uint32_t)lc_cli_start_number(v, START_IDLE_TIMEOUT, 0);
  o->close_handshake_ms = (uint32_t)lc_cli_start_number(v, START_CLOSE_HANDSHAKE_TIMEOUT, 0);
  lists->retain_text = lc_cli_copy(v->given[START_RETAIN].text);
  if (lists->retain_text && !database_retain(lists->retain_text, lists->retained, MAX_DATABASE_LIMITS, &o->n_database_retain, &o->retain_all))
    return bad_value(cli, v, START_RETAIN, "needed or all, or NAME=needed|all,...");
  lists->limits_text = lc_cli_copy(v->given[START_DATABASE_LIMITS].text);
  if (lists->limits_text && *lists->limits_text && !(o->n_database_limits = database_limits(lists->limits_text, lists->limits, MAX_DATABASE_LIMITS)))
    return bad_value(cli, v, START_DATABASE_LIMITS, "NAME=MS[/MIB[/MIB]],...");
  o->database_limits = lists->limits;
  o->database_retain = lists->retained;
  return 0;
}

/* Where the keys are: where told, else in the data folder (made there at the first start). */
static int choose_keys(struct lc_cli *cli, const struct lc_cli_args *args, const struct lc_cli_start_values *v, char **pub, char **priv) {
  const char *key_dir = lc_cli_value(args, "jwt-key-dir"), *pub_text = v->given[START_JWT_PUB_KEY_PATH].text, *priv_text = v->given[START_JWT_PRIV_KEY_PATH].text;
  if (!pub_text != !priv_text) {
    const char *from = v->given[pub_text ? START_JWT_PUB_KEY_PATH : START_JWT_PRIV_KEY_PATH].from, *other = pub_text ? "priv" : "pub";
    if (strncmp(from, "--", 2) == 0) return lc_cli_usage_error(cli, "the following required arguments were not provided:\n  --jwt-%s-key-path <VALUE>", other);
    return lc_cli_fail(cli, "%s: jwt-%s-key-path must be there, too", from, other);
  }
  *pub = pub_text ? lc_cli_copy(pub_text) : key_dir ? lc_cli_format("%s/id_ecdsa.pub", key_dir) : NULL;
  *priv = priv_text ? lc_cli_copy(priv_text) : key_dir ? lc_cli_format("%s/id_ecdsa", key_dir) : NULL;
  if (key_dir && !pub_text) make_dirs(key_dir);
  return 0;
}

static int choose_certificate(struct lc_cli *cli, const struct lc_cli_start_values *v, struct lc_server_options *o) {
  const char *cert = v->given[START_TLS_CERT].text, *key = v->given[START_TLS_KEY].text;
  o->tls_cert_path = cert && *cert ? cert : NULL;
  o->tls_key_path = key && *key ? key : NULL;
  if (!o->tls_cert_path == !o->tls_key_path) return 0;
  const char *from = v->given[o->tls_cert_path ? START_TLS_CERT : START_TLS_KEY].from, *other = o->tls_cert_path ? "key" : "cert";
  if (strncmp(from, "--", 2) == 0) return lc_cli_usage_error(cli, "the following required arguments were not provided:\n  --tls-%s <VALUE>", other);
  return lc_cli_fail(cli, "%s: %s must be there, too", from, other);
}

int lc_cli_cmd_start(struct lc_cli *cli, const struct lc_cli_args *args) {
  const char *data_dir = lc_cli_value(args, "data-dir"), *edition = lc_cli_value(args, "edition");
  struct lists lists = {0};
  struct lc_server_options options = {0};
  struct lc_cli_start_values v;
  char *pub = NULL, *priv = NULL, *log_dir = NULL, *saved = lc_cli_config_get(cli->config, "listen_addr");
  if (edition && strcmp(edition, "standalone") != 0) return lc_cli_fail(cli, "only the standalone edition can be started here, not `%s`", edition);
  if (!data_dir) data_dir = cli->data_dir;
  make_dirs(data_dir);
  int rc = lc_cli_start_values_load(cli, args, data_dir, &v);
  if (rc == 0) rc = make_options(cli, &v, &lists, &options);
  const char *listen = v.given[START_LISTEN_ADDR].text;
  char *address = lc_cli_copy(listen ? listen : saved ? saved : "0.0.0.0:3000");
  if (rc == 0) rc = choose_address(cli, !lc_cli_has(args, "non-interactive") && isatty(STDIN_FILENO), &address);
  if (rc == 0) rc = choose_keys(cli, args, &v, &pub, &priv);
  if (rc == 0) rc = choose_certificate(cli, &v, &options);
  if (rc == 0) {
    char exe[4096];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    exe[n > 0 ? n : 0] = 0;
    options.listen_addr = address;
    options.data_dir = data_dir;
    if (v.given[START_LOG_DIR].text) log_dir = lc_cli_copy(v.given[START_LOG_DIR].text);
    else if (!options.in_memory) log_dir = lc_cli_format("%s/logs", data_dir);
    options.log_dir = log_dir && *log_dir ? log_dir : NULL;
    options.jwt_pub_key_path = pub;
    options.jwt_priv_key_path = priv;
    printf("%s version: %s\n%s path: %s\ndatabase running in data directory %s\n", cli->program, LC_CLI_VERSION, cli->program, n > 0 ? exe : cli->program, data_dir);
    fflush(stdout);
    rc = lc_server_run(&options);
  }
  lc_free(log_dir);
  lc_free(pub);
  lc_free(priv);
  lc_free(address);
  lc_free(saved);
  lc_free(lists.limits_text);
  lc_free(lists.retain_text);
  lc_cli_start_values_free(&v);
  return rc;
}
