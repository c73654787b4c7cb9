/* Every metric of GET /v1/metrics: the page and docs/reference/metrics.md are made of these lines (scripts/reference-docs.py). Names with the prefix `spacetime_`, and
 * reducer_wasmtime_fuel_used, are those that dashboards and harnesses of the reference know (spec/04 §3.15, spec/05 §20); times are in seconds, sizes in bytes.
 * Includer defines what it needs of:
 *   SERVER_METRIC(value, unit, name, type, help)     one sample; value: an enum server_value
 *   DATABASE_METRIC(value, unit, name, type, help)   one for each database, label db; value: an enum lc_db_metric
 *   DATABASE_SUMMARY(sum, count, unit, name, help)   two for each database, label db: name_sum and name_count; sum, count: an enum lc_db_metric
 *   REDUCER_METRIC(value, name, type, labels, help)  one or more for each reducer of each database; value: how they are written
 *   TABLE_METRIC(field, name, type, help)            one for each table of each database, labels db, table_id, table_name; field: of struct lc_db_table_metrics
 * unit: ONE, or MICROSECONDS for what is counted in them and shown in seconds. */
#ifndef SERVER_METRIC
#define SERVER_METRIC(...)
#endif
#ifndef DATABASE_METRIC
#define DATABASE_METRIC(...)
#endif
#ifndef DATABASE_SUMMARY
#define DATABASE_SUMMARY(...)
#endif
#ifndef REDUCER_METRIC
#define REDUCER_METRIC(...)
#endif
#ifndef TABLE_METRIC
#define TABLE_METRIC(...)
#endif

SERVER_METRIC(CPU_US, MICROSECONDS, "process_cpu_seconds_total", counter, "Processor time of the server, all threads, user and system.")
SERVER_METRIC(RSS_BYTES, ONE, "process_resident_memory_bytes", gauge, "Memory of the server that is resident.")
SERVER_METRIC(OPEN_FILES, ONE, "process_open_fds", gauge, "Open file descriptors.")
SERVER_METRIC(START_US, MICROSECONDS, "process_start_time_seconds", gauge, "When the server was started, since 1970.")
SERVER_METRIC(DATABASES, ONE, "lightcone_databases", gauge, "Databases of this server, those that could not be started too.")
SERVER_METRIC(CONNECTIONS, ONE, "lightcone_connections", gauge, "Open connections, HTTP and WebSocket.")
SERVER_METRIC(ACCEPTED, ONE, "lightcone_connections_accepted_total", counter, "Connections accepted.")
SERVER_METRIC(HTTP_REQUESTS, ONE, "lightcone_http_requests_total", counter, "HTTP requests, WebSocket handshakes among them.")
SERVER_METRIC(MESSAGES_IN, ONE, "lightcone_websocket_messages_received_total", counter, "WebSocket messages received.")
SERVER_METRIC(MESSAGES_OUT, ONE, "lightcone_websocket_messages_sent_total", counter, "WebSocket messages sent.")
SERVER_METRIC(BYTES_IN, ONE, "lightcone_network_received_bytes_total", counter, "Bytes read from sockets.")
SERVER_METRIC(BYTES_OUT, ONE, "lightcone_network_sent_bytes_total", counter, "Bytes written to sockets.")
SERVER_METRIC(HANDED_OVER, ONE, "lightcone_slow_runs_total", counter, "Runs of a database that took so long that another thread went on with the connections.")

DATABASE_METRIC(LC_DB_IS_UP, ONE, "lightcone_database_up", gauge, "1: it runs; 0: it could not be started, or its log failed.")
DATABASE_METRIC(LC_DB_IS_BUSY, ONE, "lightcone_database_busy", gauge, "1: a call has kept it busy while this page was made, so that gauges are those of the last page and tables are left out.")
DATABASE_METRIC(LC_DB_COMMITTED, ONE, "lightcone_transactions_committed_total", counter, "Transactions committed, those that changed nothing too.")
DATABASE_METRIC(LC_DB_ROLLED_BACK, ONE, "lightcone_transactions_rolled_back_total", counter, "Transactions rolled back.")
DATABASE_METRIC(LC_DB_TRANSACTIONS, ONE, "spacetime_num_txns_total", counter, "Transactions, committed and rolled back.")
DATABASE_METRIC(LC_DB_RESPONSE_BYTES, ONE, "spacetime_http_response_size_bytes_total", counter, "Bytes of answers to HTTP requests about the database, headers and body.")
DATABASE_METRIC(LC_DB_ROWS_INSERTED, ONE, "spacetime_num_rows_inserted_total", counter, "Rows that committed transactions inserted, net.")
DATABASE_METRIC(LC_DB_ROWS_DELETED, ONE, "spacetime_num_rows_deleted_total", counter, "Rows that committed transactions deleted, net.")
DATABASE_METRIC(LC_DB_CALLS_REJECTED, ONE, "lightcone_reducer_calls_rejected_total", counter, "Calls of reducers that do not exist, or with arguments that are not theirs.")
DATABASE_METRIC(LC_DB_PROCEDURES, ONE, "lightcone_procedure_calls_total", counter, "Procedures and HTTP handlers that ran.")
DATABASE_METRIC(LC_DB_PROCEDURES_FAILED, ONE, "lightcone_procedure_errors_total", counter, "Procedures and HTTP handlers that failed.")
DATABASE_METRIC(LC_DB_SQL_STATEMENTS, ONE, "lightcone_sql_statements_total", counter, "SQL statements over HTTP and one-off queries.")
DATABASE_METRIC(LC_DB_REQUESTS, ONE, "spacetime_websocket_requests_total", counter, "Requests of WebSocket clients: calls, subscriptions, queries.")
DATABASE_METRIC(LC_DB_BYTES_RECEIVED, ONE, "lightcone_request_bytes_total", counter, "Bytes of WebSocket clients' requests.")
DATABASE_METRIC(LC_DB_BYTES_SENT, ONE, "spacetime_num_bytes_sent_to_clients_total", counter, "Bytes for WebSocket clients, before compression.")
DATABASE_METRIC(LC_DB_DRAINS, ONE, "lightcone_drains_total", counter, "Times that what waited was run together; requests by drains is the size of a batch.")
DATABASE_METRIC(LC_DB_WAITING_OPERATIONS, ONE, "lightcone_inbox_operations", gauge, "Operations that wait to be run.")
DATABASE_METRIC(LC_DB_WAITING_PROCEDURES, ONE, "lightcone_procedures_pending", gauge, "Procedures and HTTP handlers that run or wait.")
DATABASE_METRIC(LC_DB_CLIENTS, ONE, "spacetime_worker_connected_clients", gauge, "WebSocket clients.")
DATABASE_METRIC(LC_DB_SUBSCRIBERS, ONE, "spacetime_subscription_connections", gauge, "Clients with subscriptions.")
DATABASE_METRIC(LC_DB_QUERY_SETS, ONE, "spacetime_subscription_sets", gauge, "Sets of queries that clients have subscribed to.")
DATABASE_METRIC(LC_DB_QUERIES, ONE, "spacetime_active_queries", gauge, "Distinct queries that are subscribed to.")
DATABASE_METRIC(LC_DB_QUERIES_EVALUATED, ONE, "spacetime_num_delta_queries_evaluated", counter, "Distinct queries that commits made the server evaluate.")
DATABASE_METRIC(LC_DB_QUERIES_MATCHED, ONE, "spacetime_num_delta_queries_matched", counter, "Those of them whose rows had changed.")
DATABASE_METRIC(LC_DB_MEMORY_BYTES, ONE, "lightcone_data_memory_bytes", gauge, "Memory taken for rows and indexes, free pieces too.")
DATABASE_METRIC(LC_DB_LIVE_BYTES, ONE, "lightcone_data_live_bytes", gauge, "What the present rows and indexes take of it.")
DATABASE_METRIC(LC_DB_RETIRED_BYTES, ONE, "lightcone_data_retired_bytes", gauge, "What only snapshots and long reads still see of it.")
DATABASE_METRIC(LC_DB_READ_VIEWS, ONE, "lightcone_read_views", gauge, "States of the database that are held for snapshots and long reads.")
DATABASE_METRIC(LC_DB_MODULE_BYTES, ONE, "spacetime_worker_wasm_memory_bytes", gauge, "Linear memory of the module's instance for reducers.")
DATABASE_METRIC(LC_DB_NEXT_OFFSET, ONE, "lightcone_next_transaction_offset", gauge, "Number of the next transaction that will be in the log.")
DATABASE_METRIC(LC_DB_DURABLE_OFFSET, ONE, "lightcone_durable_transaction_offset", gauge, "Number of the first transaction that is not yet safe on disk.")
DATABASE_METRIC(LC_DB_LOG_LAG, ONE, "lightcone_log_lag_transactions", gauge, "Transactions that are not yet safe on disk.")
DATABASE_METRIC(LC_DB_LOG_WAITING_BYTES, ONE, "lightcone_log_waiting_bytes", gauge, "Bytes that wait for the log's writer.")
DATABASE_METRIC(LC_DB_LOG_DISK_BYTES, ONE, "spacetime_message_log_size_bytes", gauge, "Size of the log's files.")
DATABASE_METRIC(LC_DB_LOG_BYTES, ONE, "lightcone_log_written_bytes_total", counter, "Bytes written to the log.")
DATABASE_METRIC(LC_DB_LOG_SYNCS, ONE, "lightcone_log_syncs_total", counter, "Batches written to the log and synced.")
DATABASE_METRIC(LC_DB_LOG_SYNC_US, MICROSECONDS, "lightcone_log_sync_seconds_total", counter, "Time that writing and syncing them took.")
DATABASE_METRIC(LC_DB_SNAPSHOTS, ONE, "lightcone_snapshots_total", counter, "Snapshots made.")
DATABASE_METRIC(LC_DB_SNAPSHOTS_FAILED, ONE, "lightcone_snapshot_errors_total", counter, "Snapshots that could not be written.")
DATABASE_METRIC(LC_DB_SNAPSHOT_OFFSET, ONE, "lightcone_snapshot_transaction_offset", gauge, "Number of the last transaction in the newest snapshot made since the start.")
DATABASE_METRIC(LC_DB_SNAPSHOT_AGE_US, MICROSECONDS, "lightcone_snapshot_age_seconds", gauge, "How long ago it was made.")
DATABASE_METRIC(LC_DB_SNAPSHOT_US, MICROSECONDS, "lightcone_snapshot_duration_seconds", gauge, "How long making it took.")
DATABASE_METRIC(LC_DB_SNAPSHOT_BYTES, ONE, "lightcone_snapshot_bytes", gauge, "Its size.")

DATABASE_SUMMARY(LC_DB_OPERATIONS_WAIT_US, LC_DB_OPERATIONS, MICROSECONDS, "spacetime_reducer_wait_time_sec", "How long calls and other operations of clients waited before they were run.")
DATABASE_SUMMARY(LC_DB_CALLS_US, LC_DB_CALLS, MICROSECONDS, "spacetime_txn_elapsed_time_sec", "Time of reducers' transactions, from the call's begin until the database went on with something else.")

REDUCER_METRIC(REDUCER_CALLS, "lightcone_reducer_calls_total", counter, "db, reducer, outcome", "Calls of reducers. Outcome: `committed`; `failed`, the reducer returned an error; `fatal`, it trapped; `budget`, it took too long.")
REDUCER_METRIC(REDUCER_DURATION, "spacetime_reducer_plus_query_duration_sec", histogram, "db, reducer", "Time from a call's begin until the database went on with something else: module, commit, subscriptions, answer.")
REDUCER_METRIC(REDUCER_ENERGY, "reducer_wasmtime_fuel_used", counter, "db, reducer", "Energy used: instructions where they are counted (`--count-instructions`), else 2000 for each microsecond.")

TABLE_METRIC(rows, "spacetime_num_table_rows", gauge, "Rows.")
TABLE_METRIC(memory_bytes, "spacetime_table_size_bytes", gauge, "Memory of rows and indexes.")

#undef SERVER_METRIC
#undef DATABASE_METRIC
#undef DATABASE_SUMMARY
#undef REDUCER_METRIC
#undef TABLE_METRIC
