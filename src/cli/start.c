/* `start`: the server in this process (spec/04 §6.1, §7.2).
 *
 * The data folder and the folder of the keys default to the user's. Callers: the table of cli.c.
 */
#include "../api/api.h"
#include "cli_internal.h"
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
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

/* NAME=MS[/MIB],…: entries of limits, whose names point into text, which is cut up. 0: malformed. */
static unsigned database_limits(char *text, struct lc_database_limits *limits, unsigned max) {
  unsigned n = 0;
  for (char *next, *at = text; at; at = next) {
    if ((next = strchr(at, ','))) *next++ = 0;
    char *budget = strchr(at, '='), *memory = budget ? strchr(budget, '/') : NULL;
    if (n == max || !budget || budget == at) return 0;
    *budget++ = 0;
    if (memory) *memory++ = 0;
    limits[n].database = at;
    if (!number_of(budget, UINT32_MAX, &limits[n].time_budget_ms) || (memory && !number_of(memory, 4096, &limits[n].module_memory_mib))) return 0;
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

int lc_cli_cmd_start(struct lc_cli *cli, const struct lc_cli_args *args) {
  const char *data = lc_cli_value(args, "data-dir"), *listen = lc_cli_value(args, "listen-addr"), *edition = lc_cli_value(args, "edition");
  const char *pub = lc_cli_value(args, "jwt-pub-key-path"), *priv = lc_cli_value(args, "jwt-priv-key-path"), *key_dir = lc_cli_value(args, "jwt-key-dir");
  const char *threads = lc_cli_value(args, "network-threads"), *budget = lc_cli_value(args, "time-budget-ms"), *memory = lc_cli_value(args, "module-memory-mib");
  const char *interval = lc_cli_value(args, "snapshot-interval-transactions"), *segment = lc_cli_value(args, "max-segment-size"), *retain = lc_cli_value(args, "retain");
  enum { max_database_limits = 256 };
  struct lc_database_limits limits[max_database_limits] = {0};
  unsigned n_limits = 0;
  uint64_t n_threads = 0, budget_ms = 0, memory_mib = 0, snapshot_interval = 0, segment_bytes = 0;
  if (!pub != !priv) return lc_cli_usage_error(cli, "the following required arguments were not provided:\n  --jwt-%s-key-path <VALUE>", pub ? "priv" : "pub");
  if (edition && strcmp(edition, "standalone") != 0) return lc_cli_fail(cli, "only the standalone edition can be started here, not `%s`", edition);
  if (lc_cli_has(args, "pg-port")) return lc_cli_fail(cli, "--pg-port: this server offers no PostgreSQL listener; use the HTTP interface or `spacetime sql`");
  if (threads && !number_of(threads, 256, &n_threads)) return lc_cli_usage_error(cli, "invalid value '%s' for '--network-threads <VALUE>'", threads);
  if (budget && !number_of(budget, UINT32_MAX, &budget_ms)) return lc_cli_usage_error(cli, "invalid value '%s' for '--time-budget-ms <VALUE>'", budget);
  if (memory && !number_of(memory, 4096, &memory_mib)) return lc_cli_usage_error(cli, "invalid value '%s' for '--module-memory-mib <VALUE>'", memory);
  if (interval && !number_of(interval, INT64_MAX, &snapshot_interval)) return lc_cli_usage_error(cli, "invalid value '%s' for '--snapshot-interval-transactions <VALUE>'", interval);
  if (interval && snapshot_interval == 0) snapshot_interval = UINT64_MAX;
  if (segment && (!number_of(segment, INT64_MAX, &segment_bytes) || segment_bytes == 0)) return lc_cli_usage_error(cli, "invalid value '%s' for '--max-segment-size <VALUE>'", segment);
  struct lc_database_retain retained[max_database_limits];
  unsigned n_retained = 0;
  bool retain_all = false;
  char *own_retain = retain ? lc_cli_copy(retain) : NULL;
  if (own_retain && !database_retain(own_retain, retained, max_database_limits, &n_retained, &retain_all)) {
    lc_free(own_retain);
    return lc_cli_usage_error(cli, "invalid value '%s' for '--retain <VALUE>': needed or all, or NAME=needed|all,... is expected", retain);
  }
  const char *limits_text = lc_cli_value(args, "database-limits");
  char *own_limits = limits_text ? lc_cli_copy(limits_text) : NULL;
  if (own_limits && !(n_limits = database_limits(own_limits, limits, max_database_limits))) {
    lc_free(own_limits);
    lc_free(own_retain);
    return lc_cli_usage_error(cli, "invalid value '%s' for '--database-limits <VALUE>': NAME=MS[/MIB],... is expected", limits_text);
  }

  char *saved = lc_cli_config_get(cli->config, "listen_addr"), *address = lc_cli_copy(listen ? listen : saved ? saved : "0.0.0.0:3000");
  int rc = choose_address(cli, !lc_cli_has(args, "non-interactive") && isatty(STDIN_FILENO), &address);
  if (rc == 0) {
    /* keys: where told, else in the data folder (made there on first start) */
    char *pub_path = pub ? lc_cli_copy(pub) : key_dir ? lc_cli_format("%s/id_ecdsa.pub", key_dir) : NULL;
    char *priv_path = priv ? lc_cli_copy(priv) : key_dir ? lc_cli_format("%s/id_ecdsa", key_dir) : NULL;
    char exe[4096];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    exe[n > 0 ? n : 0] = 0;
    if (key_dir && !pub) make_dirs(key_dir);
    struct lc_server_options options = {.listen_addr = address,
                                        .data_dir = data ? data : cli->data_dir,
                                        .in_memory = lc_cli_has(args, "in-memory"),
                                        .jwt_pub_key_path = pub_path,
                                        .jwt_priv_key_path = priv_path,
                                        .network_threads = (unsigned)n_threads,
                                        .time_budget_ms = budget_ms,
                                        .module_memory_mib = memory_mib,
                                        .database_limits = limits,
                                        .n_database_limits = n_limits,
                                        .snapshot_interval_transactions = snapshot_interval,
                                        .max_segment_bytes = segment_bytes,
                                        .retain_all = retain_all,
                                        .database_retain = retained,
                                        .n_database_retain = n_retained,
                                        .accept_lost_transactions = lc_cli_has(args, "accept-lost-transactions"),
                                        .count_instructions = lc_cli_has(args, "count-instructions")};
    make_dirs(options.data_dir);
    printf("%s version: %s\n%s path: %s\ndatabase running in data directory %s\n", cli->program, LC_CLI_VERSION, cli->program, n > 0 ? exe : cli->program, options.data_dir);
    fflush(stdout);
    rc = lc_server_run(&options);
    lc_free(pub_path);
    lc_free(priv_path);
  }
  lc_free(address);
  lc_free(saved);
  lc_free(own_limits);
  lc_free(own_retain);
  return rc;
}
