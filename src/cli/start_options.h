/* Every option of `start` and every key of config.toml (spec/04 §6.1, §6.2): help, parsing, the file that is written when there is none, and docs/reference/options.md
 * (scripts/reference-docs.py) are made of these lines. The command line counts before the file, and the file before the default.
 *   START_OPTION(id, name, letter, form, section, key, default, help)   on the command line and, with a section, in the file
 *   CONFIG_KEY(id, form, section, key, default, help)                   in the file only
 * form: FLAG; TEXT; NUMBER; BYTES, a number or `64MiB`; TIME, seconds or `250ms`, `15s`, `2m`, `1h`; LIST, of texts (on the command line with commas between). */
#ifndef START_OPTION
#define START_OPTION(...)
#endif
#ifndef CONFIG_KEY
#define CONFIG_KEY(...)
#endif

START_OPTION(LISTEN_ADDR, "listen-addr", 'l', TEXT, "server", "listen-addr", "0.0.0.0:3000", "The address and port to listen on")
START_OPTION(DATA_DIR, "data-dir", 0, TEXT, "", "", "~/.local/share/spacetime/data", "The folder of the server's data, with its config.toml")
START_OPTION(IN_MEMORY, "in-memory", 0, FLAG, "server", "in-memory", "false", "Keep databases in memory only: each start begins with their programs and no data")
START_OPTION(NETWORK_THREADS, "network-threads", 0, NUMBER, "server", "network-threads", "0", "Threads that serve connections, at most 256 (0: processors, at most 8)")
START_OPTION(MAX_CONNECTIONS, "max-connections", 0, NUMBER, "server", "max-connections", "100000", "Open connections; more are closed at once")
START_OPTION(PG_PORT, "pg-port", 0, NUMBER, "server", "pg-port", "0", "Port for PostgreSQL clients (0: none)")
START_OPTION(NON_INTERACTIVE, "non-interactive", 0, FLAG, "", "", "false", "Fail at once if the port is taken")

START_OPTION(JWT_PUB_KEY_PATH, "jwt-pub-key-path", 0, TEXT, "certificate-authority", "jwt-pub-key-path", "DATA_DIR/id_ecdsa.pub", "The public key for verifying identities")
START_OPTION(JWT_PRIV_KEY_PATH, "jwt-priv-key-path", 0, TEXT, "certificate-authority", "jwt-priv-key-path", "DATA_DIR/id_ecdsa", "The private key for issuing identities; both are made at the first start")

START_OPTION(TLS_CERT, "tls-cert", 0, TEXT, "tls", "cert", "", "The certificate (PEM, with its chain) for TLS: with it every connection speaks https and wss; a renewed file is taken up")
START_OPTION(TLS_KEY, "tls-key", 0, TEXT, "tls", "key", "", "The certificate's private key (PEM)")

START_OPTION(TIME_BUDGET_MS, "time-budget-ms", 0, NUMBER, "limits", "time-budget-ms", "60000", "Milliseconds a call may run")
START_OPTION(MODULE_MEMORY_MIB, "module-memory-mib", 0, NUMBER, "limits", "module-memory-mib", "1024", "Memory that an instance of a module may have, in MiB, at most 4096")
START_OPTION(DATA_MEMORY_MIB, "data-memory-mib", 0, NUMBER, "limits", "data-memory-mib", "0", "Memory that rows and indexes of a database may have, in MiB; calls that need more fail (0: no limit)")
START_OPTION(DATABASE_LIMITS, "database-limits", 0, LIST, "limits", "databases", "", "Limits of single databases, by name or identity: NAME=MS[/MODULE-MIB[/DATA-MIB]],... (0: as above)")
START_OPTION(COUNT_INSTRUCTIONS, "count-instructions", 0, FLAG, "limits", "count-instructions", "false", "Count the instructions of modules: exact energy figures, and a budget of 120e9 a call")

START_OPTION(MAX_SEGMENT_SIZE, "max-segment-size", 0, BYTES, "commitlog", "max-segment-size", "1GiB", "Bytes after which a new segment of the commit log is begun")
START_OPTION(SNAPSHOT_INTERVAL, "snapshot-interval-transactions", 0, NUMBER, "commitlog", "snapshot-interval-transactions", "1000000", "Transactions between two snapshots of a database (0: only for new log segments)")
START_OPTION(RETAIN, "retain", 0, LIST, "commitlog", "retain", "needed", "needed: the two newest snapshots and the log behind them; all: every snapshot and the whole log; NAME=... of one database; separated by commas")
START_OPTION(ACCEPT_LOST, "accept-lost-transactions", 0, FLAG, "commitlog", "accept-lost-transactions", "false", "Start databases whose log has lost its end, from where the log ends")

START_OPTION(LOG_DIR, "log-dir", 0, TEXT, "logs", "dir", "", "Folder for the server's log, a file for each day, beside standard error; not told: `logs` in the data folder (with --in-memory none), empty: none")
START_OPTION(LOG_DAYS, "log-days", 0, NUMBER, "logs", "days", "30", "Days that logs are kept, of the server and of modules (0: for ever)")
START_OPTION(LOG_SIZE, "log-size", 0, BYTES, "logs", "size", "1GiB", "Bytes that are kept of the server's log and of each module's (0: all); today's file is rotated at an eighth")
CONFIG_KEY(LOG_LEVEL, TEXT, "logs", "level", "info", "The least severe lines of the server's log: error, warn, info, debug")
CONFIG_KEY(LOG_DIRECTIVES, LIST, "logs", "directives", "", "target=level; those of the target `lightcone` count before level, others are the reference's and without effect")
CONFIG_KEY(MODULE_HTTP, FLAG, "module-http", "enabled", "true", "Whether procedures may make HTTP requests")

CONFIG_KEY(PING_INTERVAL, TIME, "websocket", "ping-interval", "15s", "Time between two pings of a WebSocket client")
CONFIG_KEY(IDLE_TIMEOUT, TIME, "websocket", "idle-timeout", "30s", "Time after which a client that has sent nothing is gone")
CONFIG_KEY(CLOSE_HANDSHAKE_TIMEOUT, TIME, "websocket", "close-handshake-timeout", "250ms", "Time that a client has to answer the end of its connection")

/* of the reference: accepted and checked, without effect here */
CONFIG_KEY(INCOMING_QUEUE_LENGTH, NUMBER, "websocket", "incoming-queue-length", "16384", "Without effect: that many messages of a client may wait")
CONFIG_KEY(LOG_FORMAT_VERSION, NUMBER, "commitlog", "log-format-version", "1", "Without effect: version 1 is written, 0 is read too")
CONFIG_KEY(INDEX_INTERVAL, BYTES, "commitlog", "offset-index-interval-bytes", "4096", "Without effect")
CONFIG_KEY(INDEX_INTERVAL_ALIAS, BYTES, "commitlog", "offset-interval-bytes", "4096", "Without effect")
CONFIG_KEY(INDEX_FSYNC, FLAG, "commitlog", "offset-index-require-segment-fsync", "true", "Without effect")
CONFIG_KEY(INDEX_FSYNC_ALIAS, FLAG, "commitlog", "offset-index-require-fsync", "true", "Without effect")
CONFIG_KEY(PREALLOCATE, FLAG, "commitlog", "preallocate-segments", "false", "Without effect")
CONFIG_KEY(WRITE_BUFFER, BYTES, "commitlog", "write-buffer-size", "128KiB", "Without effect")
CONFIG_KEY(WASM_POOL, NUMBER, "wasm", "procedure-instance-pool-size", "16", "Without effect: as many as are needed are made, 16 are kept")
CONFIG_KEY(V8_POOL, NUMBER, "v8", "procedure-instance-pool-size", "16", "Without effect")
CONFIG_KEY(V8_CHECK_REQUESTS, NUMBER, "v8-heap-policy", "heap-check-request-interval", "4096", "Without effect")
CONFIG_KEY(V8_CHECK_TIME, TIME, "v8-heap-policy", "heap-check-time-interval", "5s", "Without effect")
CONFIG_KEY(V8_GC, FRACTION, "v8-heap-policy", "heap-gc-trigger-fraction", "0.67", "Without effect")
CONFIG_KEY(V8_RETIRE, FRACTION, "v8-heap-policy", "heap-retire-fraction", "0.75", "Without effect")
CONFIG_KEY(V8_LIMIT, NUMBER, "v8-heap-policy", "heap-limit-mb", "1024", "Without effect: `module-memory-mib` limits all modules")

#undef START_OPTION
#undef CONFIG_KEY
