/* The system tables as data (spec/06 §2, §2.1, spec/07 §9): everything the catalog knows before any module is published.
 * Included by catalog.c only. Column types: u8 u16 u32 u64 i64 i128 u128 u256 bool str bytes cols, a leading ? for Option,
 * and the sums index_algorithm, constraint_data, var_value. */
struct system_column { const char *name, *type; };
struct system_table { uint32_t id; const char *name; bool is_private; int pk; struct system_column columns[10]; };
struct system_index { uint32_t id, table; bool is_unique; uint32_t constraint_id; uint32_t n; uint16_t columns[3]; };
struct system_sequence { uint32_t id, table; };

static const struct system_table system_tables[] = {
    {1, "st_table", false, 0, {{"table_id", "u32"}, {"table_name", "str"}, {"table_type", "str"}, {"table_access", "str"}, {"table_primary_key", "?cols"}}},
    {2, "st_column", false, -1, {{"table_id", "u32"}, {"col_pos", "u16"}, {"col_name", "str"}, {"col_type", "bytes"}}},
    {3, "st_sequence", false, 0,
     {{"sequence_id", "u32"}, {"sequence_name", "str"}, {"table_id", "u32"}, {"col_pos", "u16"}, {"increment", "i128"}, {"start", "i128"}, {"min_value", "i128"}, {"max_value", "i128"}, {"allocated", "i128"}}},
    {4, "st_index", false, 0, {{"index_id", "u32"}, {"table_id", "u32"}, {"index_name", "str"}, {"index_algorithm", "index_algorithm"}}},
    {5, "st_constraint", false, 0, {{"constraint_id", "u32"}, {"constraint_name", "str"}, {"table_id", "u32"}, {"constraint_data", "constraint_data"}}},
    {6, "st_module", false, -1, {{"database_identity", "u256"}, {"owner_identity", "u256"}, {"program_kind", "u8"}, {"program_hash", "u256"}, {"program_bytes", "bytes"}, {"module_version", "str"}}},
    {7, "st_client", false, -1, {{"identity", "u256"}, {"connection_id", "u128"}}},
    {8, "st_var", false, 0, {{"name", "str"}, {"value", "var_value"}}},
    {9, "st_scheduled", false, 0, {{"schedule_id", "u32"}, {"table_id", "u32"}, {"reducer_name", "str"}, {"schedule_name", "str"}, {"at_column", "u16"}}},
    {10, "st_row_level_security", false, 1, {{"table_id", "u32"}, {"sql", "str"}}},
    {11, "st_connection_credentials", true, 0, {{"connection_id", "u128"}, {"jwt_payload", "str"}}},
    {12, "st_view", false, 0, {{"view_id", "u32"}, {"view_name", "str"}, {"table_id", "?u32"}, {"is_public", "bool"}, {"is_anonymous", "bool"}}},
    {13, "st_view_param", false, -1, {{"view_id", "u32"}, {"param_pos", "u16"}, {"param_name", "str"}, {"param_type", "bytes"}}},
    {14, "st_view_column", false, -1, {{"view_id", "u32"}, {"col_pos", "u16"}, {"col_name", "str"}, {"col_type", "bytes"}}},
    {15, "st_view_sub", false, -1, {{"view_id", "u32"}, {"arg_id", "u64"}, {"identity", "u256"}, {"num_subscribers", "u64"}, {"has_subscribers", "bool"}, {"last_called", "i64"}}},
    {16, "st_view_arg", false, 0, {{"id", "u64"}, {"bytes", "bytes"}}},
    {17, "st_event_table", false, 0, {{"table_id", "u32"}}},
    {18, "st_table_accessor", false, -1, {{"table_name", "str"}, {"accessor_name", "str"}}},
    {19, "st_index_accessor", false, -1, {{"index_name", "str"}, {"accessor_name", "str"}}},
    {20, "st_column_accessor", false, -1, {{"table_name", "str"}, {"col_name", "str"}, {"accessor_name", "str"}}},
    {21, "st_env", true, 0, {{"key", "str"}, {"value", "str"}}},
    {22, "st_outbound_stream", true, 0, {{"stream_id", "u64"}, {"outbox_table_id", "u32"}, {"target_identity", "u256"}, {"next_seq", "u64"}, {"ack_prefix", "u64"}}},
    {23, "st_outbound_msg", true, -1,
     {{"stream_id", "u64"}, {"msg_id", "u64"}, {"seq", "u64"}, {"retry_count", "u32"}, {"last_transport_error", "?str"}, {"result_status", "?u8"}, {"result_payload", "?bytes"}}},
    {24, "st_inbound_stream", true, -1, {{"sender_identity", "u256"}, {"stream_id", "u64"}, {"applied_prefix", "u64"}}},
    {25, "st_inbound_msg", true, -1, {{"sender_identity", "u256"}, {"stream_id", "u64"}, {"seq", "u64"}, {"result_status", "u8"}, {"result_payload", "bytes"}}},
    {26, "st_outbox", true, 0, {{"table_id", "u32"}, {"remote_reducer", "str"}, {"target_column", "u16"}, {"arg_columns", "cols"}, {"on_result_reducer", "?str"}, {"signature_hash", "str"}}},
};

/* id, table, unique, constraint id (0: none), columns */
static const struct system_index system_indexes[] = {
    {1, 1, true, 1, 1, {0}},        {2, 1, true, 2, 1, {1}},        {3, 2, true, 3, 2, {0, 1}},     {4, 3, true, 4, 1, {0}},        {5, 4, true, 5, 1, {0}},
    {6, 5, true, 6, 1, {0}},        {7, 7, true, 7, 2, {0, 1}},     {8, 8, true, 8, 1, {0}},        {9, 9, true, 9, 1, {0}},        {10, 9, true, 10, 1, {1}},
    {11, 10, false, 0, 1, {0}},     {12, 10, true, 11, 1, {1}},     {13, 11, true, 12, 1, {0}},     {14, 12, true, 13, 1, {0}},     {15, 12, true, 14, 1, {1}},
    {16, 13, true, 15, 2, {0, 1}},  {17, 14, true, 16, 2, {0, 1}},  {18, 15, false, 0, 1, {2}},     {19, 15, false, 0, 1, {4}},     {20, 15, false, 0, 3, {0, 1, 2}},
    {21, 16, true, 17, 1, {0}},     {22, 16, true, 18, 1, {1}},     {23, 17, true, 19, 1, {0}},     {24, 18, true, 20, 1, {0}},     {25, 18, true, 21, 1, {1}},
    {26, 19, true, 22, 1, {0}},     {27, 19, true, 23, 1, {1}},     {28, 20, true, 24, 2, {0, 1}},  {29, 20, true, 25, 2, {0, 2}},  {30, 21, true, 26, 1, {0}},
    {31, 22, true, 27, 1, {0}},     {32, 22, true, 28, 2, {1, 2}},  {33, 23, true, 29, 2, {0, 2}},  {34, 24, true, 30, 2, {0, 1}},  {35, 25, true, 31, 3, {0, 1, 2}},
    {36, 23, true, 32, 2, {0, 1}},  {37, 26, true, 33, 1, {0}},
};
static const struct system_sequence system_sequences[] = {{1, 1}, {2, 4}, {3, 5}, {4, 9}, {5, 3}, {6, 12}, {7, 16}, {8, 22}};
