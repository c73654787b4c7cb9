/* The rules of the module ABI as data (spec/02 §4, §6; spec/07 §3.2): every import and every errno, once. Linking, checks, names and the page
 * docs/module-abi.md (tests/checks/abi_doc.sh) come from these two lists.
 *
 * ABI_FUNCTION(minor version, name, parameter types, result type, handler, parameters for people); types: i = i32, I = i64, 0 = none.
 * ABI_ERRNO(number, name, class in the TypeScript library, message)
 */
#ifndef LC_HOST_ABI_TABLE_H
#define LC_HOST_ABI_TABLE_H

#define ABI_FUNCTIONS(ABI_FUNCTION)                                                                                                                                      \
  ABI_FUNCTION(0, table_id_from_name, "iii", 'i', call_table_id, "name, len, out u32")                                                                                   \
  ABI_FUNCTION(0, index_id_from_name, "iii", 'i', call_index_id, "name, len, out u32")                                                                                   \
  ABI_FUNCTION(0, datastore_table_row_count, "ii", 'i', call_row_count, "table, out u64")                                                                                \
  ABI_FUNCTION(0, datastore_table_scan_bsatn, "ii", 'i', call_scan, "table, out iterator")                                                                               \
  ABI_FUNCTION(0, datastore_index_scan_range_bsatn, "iiiiiiiii", 'i', call_scan_range, "index, prefix, len, prefix_elems, start, len, end, len, out iterator")           \
  ABI_FUNCTION(0, datastore_btree_scan_bsatn, "iiiiiiiii", 'i', call_scan_range, "index, prefix, len, prefix_elems, start, len, end, len, out iterator")                 \
  ABI_FUNCTION(0, datastore_delete_by_index_scan_range_bsatn, "iiiiiiiii", 'i', call_delete_range, "index, prefix, len, prefix_elems, start, len, end, len, out u32")    \
  ABI_FUNCTION(0, datastore_delete_by_btree_scan_bsatn, "iiiiiiiii", 'i', call_delete_range, "index, prefix, len, prefix_elems, start, len, end, len, out u32")          \
  ABI_FUNCTION(0, datastore_delete_all_by_eq_bsatn, "iiii", 'i', call_delete_all_by_eq, "table, rows, len, out u32")                                                     \
  ABI_FUNCTION(0, row_iter_bsatn_advance, "iii", 'i', call_iter_advance, "iterator, buffer, in/out len")                                                                 \
  ABI_FUNCTION(0, row_iter_bsatn_close, "i", 'i', call_iter_close, "iterator")                                                                                           \
  ABI_FUNCTION(0, datastore_insert_bsatn, "iii", 'i', call_insert, "table, in/out row, in/out len")                                                                      \
  ABI_FUNCTION(0, datastore_update_bsatn, "iiii", 'i', call_update, "table, index, in/out row, in/out len")                                                              \
  ABI_FUNCTION(0, bytes_source_read, "iii", 'i', call_source_read, "source, buffer, in/out len")                                                                         \
  ABI_FUNCTION(0, bytes_sink_write, "iii", 'i', call_sink_write, "sink, bytes, in/out len")                                                                              \
  ABI_FUNCTION(0, console_log, "iiiiiiii", 0, call_console_log, "level, target, len, filename, len, line, message, len")                                                 \
  ABI_FUNCTION(0, console_timer_start, "ii", 'i', call_timer_start, "name, len")                                                                                         \
  ABI_FUNCTION(0, console_timer_end, "i", 'i', call_timer_end, "timer")                                                                                                  \
  ABI_FUNCTION(0, identity, "i", 0, call_identity, "out 32 bytes")                                                                                                       \
  ABI_FUNCTION(0, volatile_nonatomic_schedule_immediate, "iiii", 0, call_schedule_immediate, "name, len, arguments, len")                                                \
  ABI_FUNCTION(1, bytes_source_remaining_length, "ii", 'i', call_source_left, "source, out u32")                                                                         \
  ABI_FUNCTION(2, get_jwt, "ii", 'i', call_get_jwt, "connection id (16 bytes), out source")                                                                              \
  ABI_FUNCTION(3, procedure_start_mut_tx, "i", 'i', call_start_tx, "out i64 microseconds")                                                                               \
  ABI_FUNCTION(3, procedure_commit_mut_tx, "", 'i', call_commit_tx, "")                                                                                                  \
  ABI_FUNCTION(3, procedure_abort_mut_tx, "", 'i', call_abort_tx, "")                                                                                                    \
  ABI_FUNCTION(3, procedure_sleep_until, "I", 'I', call_sleep, "microseconds since 1970")                                                                                \
  ABI_FUNCTION(3, procedure_http_request, "iiiii", 'i', call_http, "request, len, body, len, out 2 sources")                                                             \
  ABI_FUNCTION(4, datastore_index_scan_point_bsatn, "iiii", 'i', call_scan_point, "index, key, len, out iterator")                                                       \
  ABI_FUNCTION(4, datastore_delete_by_index_scan_point_bsatn, "iiii", 'i', call_delete_point, "index, key, len, out u32")                                                \
  ABI_FUNCTION(5, datastore_clear, "ii", 'i', call_clear, "table, out u64")                                                                                              \
  ABI_FUNCTION(6, env_get, "iii", 'i', call_env_get, "key, len, out source")

#define ABI_ERRNOS(ABI_ERRNO)                                                                                        \
  ABI_ERRNO(1, HOST_CALL_FAILURE, "HostCallFailure", "ABI called by host returned an error")                         \
  ABI_ERRNO(2, NOT_IN_TRANSACTION, "NotInTransaction", "ABI call can only be made while in a transaction")           \
  ABI_ERRNO(3, BSATN_DECODE_ERROR, "BsatnDecodeError", "Couldn't decode the BSATN to the expected type")             \
  ABI_ERRNO(4, NO_SUCH_TABLE, "NoSuchTable", "No such table")                                                        \
  ABI_ERRNO(5, NO_SUCH_INDEX, "NoSuchIndex", "No such index")                                                        \
  ABI_ERRNO(6, NO_SUCH_ITER, "NoSuchIter", "The provided row iterator is not valid")                                 \
  ABI_ERRNO(7, NO_SUCH_CONSOLE_TIMER, "NoSuchConsoleTimer", "The provided console timer does not exist")             \
  ABI_ERRNO(8, NO_SUCH_BYTES, "NoSuchBytes", "The provided bytes source or sink is not valid")                       \
  ABI_ERRNO(9, NO_SPACE, "NoSpace", "The provided sink has no more space left")                                      \
  ABI_ERRNO(10, WRONG_INDEX_ALGO, "SpacetimeHostError", "The Index does not support range scans")                    \
  ABI_ERRNO(11, BUFFER_TOO_SMALL, "BufferTooSmall", "The provided buffer is not large enough to store the data")     \
  ABI_ERRNO(12, UNIQUE_ALREADY_EXISTS, "UniqueAlreadyExists", "Value with given unique identifier already exists")   \
  ABI_ERRNO(13, SCHEDULE_AT_DELAY_TOO_LONG, "ScheduleAtDelayTooLong", "Specified delay in scheduling row was too long") \
  ABI_ERRNO(14, INDEX_NOT_UNIQUE, "IndexNotUnique", "The index was not unique")                                      \
  ABI_ERRNO(15, NO_SUCH_ROW, "NoSuchRow", "The row was not found, e.g., in an update call")                          \
  ABI_ERRNO(16, AUTO_INC_OVERFLOW, "AutoIncOverflow", "The auto-increment sequence overflowed")                      \
  ABI_ERRNO(17, WOULD_BLOCK_TRANSACTION, "WouldBlockTransaction", "Attempted async or blocking op while holding open a transaction") \
  ABI_ERRNO(18, TRANSACTION_NOT_ANONYMOUS, "TransactionNotAnonymous", "Not in an anonymous transaction. Called by a reducer?") \
  ABI_ERRNO(19, TRANSACTION_IS_READ_ONLY, "TransactionIsReadOnly", "ABI call can only be made while within a mutable transaction") \
  ABI_ERRNO(20, TRANSACTION_IS_MUT, "TransactionIsMut", "ABI call can only be made while within a read-only transaction") \
  ABI_ERRNO(21, HTTP_ERROR, "HttpError", "The HTTP request failed")

#endif
