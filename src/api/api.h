/* The face of api/: the server as a whole. */
#ifndef LC_API_H
#define LC_API_H
#include "../db/db.h"

/* Limits of one database; 0: the server's. */
struct lc_database_limits { const char *database; /* name or identity */ uint64_t time_budget_ms, module_memory_mib, data_memory_mib; };
/* Of one database: all snapshots and the whole log are kept, or what is needed. */
struct lc_database_retain { const char *database; /* name or identity */ bool all; };
struct lc_server_options {
  const char *listen_addr;      /* HOST:PORT */
  uint16_t pg_port;             /* of PostgreSQL's protocol, on the same host; 0: none */
  const char *data_dir;         /* created if missing */
  const char *jwt_pub_key_path, *jwt_priv_key_path; /* NULL: id_ecdsa(.pub) in data_dir, made on first start */
  const char *tls_cert_path, *tls_key_path; /* PEM; with them every connection speaks TLS. NULL: none does */
  unsigned network_threads;     /* 0: processors, at most 8 */
  uint64_t time_budget_ms;      /* per call; 0: 60,000 */
  uint64_t module_memory_mib;   /* linear memory of an instance; 0: 1024 */
  uint64_t data_memory_mib;     /* rows and indexes of a database; 0: no limit */
  const struct lc_database_limits *database_limits; unsigned n_database_limits;
  uint64_t snapshot_interval_transactions, max_segment_bytes; bool retain_all, accept_lost_transactions; /* as in struct lc_db_options */
  const struct lc_database_retain *database_retain; unsigned n_database_retain; /* the last that names a database counts */
  uint32_t max_connections, ping_interval_ms, idle_timeout_ms, close_handshake_ms; /* as in struct lc_net_options */
  const char *log_dir;          /* of the server's log; NULL: standard error only */
  uint32_t log_days; uint64_t log_bytes; /* of each database's module log, and of the server's in log_dir: how much is kept; 0: all */
  bool no_module_http;          /* procedures may make no HTTP requests */
  bool in_memory;               /* databases are in memory and begin empty with each start; the control database, programs and keys are in data_dir all the same */
  bool count_instructions;      /* energy as the reference counts it, with its budget of 120e9 a call beside the time budget */
};
/* Runs until SIGINT or SIGTERM; prints `listening on HOST:PORT` when ready. Returns the process's exit code. */
int lc_server_run(const struct lc_server_options *options);

/* ---- without a server (offline.c): the data folder's lock is held meanwhile (LC_CONFLICT: a server has it) ---- */

/* Takes in a replica folder of SpacetimeDB or of ours: its clog/, from which identity, owner, program and rows come. Its own snapshots are not needed.
 * LC_EXISTS: the name or the database is there; LC_CORRUPT, LC_NOT_FOUND: it is no whole log. */
enum lc_status lc_server_import(const char *data_dir, const char *replica_dir, const char *name, struct lc_identity *id, uint64_t *n_transactions, struct lc_error *err);
/* Verifies a data folder, or one replica folder; a line for each thing found. LC_CORRUPT: something is bad. */
enum lc_status lc_server_check(const char *dir, void (*report)(void *ctx, bool is_bad, const char *text), void *ctx, struct lc_error *err);

#endif
