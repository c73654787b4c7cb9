/* What the files of cli/ share: the state of one run, parsed options, configuration, HTTP, tables.
 *
 * One process runs one command on one thread, so nothing here locks. Text returned as `char *` belongs to the caller (lc_free) unless
 * said otherwise. Functions that run a command return the exit code; lc_cli_fail sets the error text and returns 1.
 */
#ifndef LC_CLI_INTERNAL_H
#define LC_CLI_INTERNAL_H
#include "../types/types.h"
#include "cli.h"

#define LC_CLI_VERSION "2.14.0"          /* of the protocol generation offered; clients compare it */
#define LC_CLI_FILE_MAX_BYTES (256u << 20) /* program files and configuration read at once */
#define LC_CLI_REPLY_MAX_BYTES (1u << 30)
#define LC_CLI_MAX_OPTIONS 128u
#define LC_CLI_JSON_DEPTH 128u

/* ---- options (cli.c) ---- */

enum lc_cli_option_kind { LC_CLI_FLAG, LC_CLI_VALUE, LC_CLI_OPTIONAL }; /* OPTIONAL: a value only after `=` */
struct lc_cli_option {
  const char *name; /* long name without dashes; NULL ends a list */
  char letter;      /* 0: none */
  enum lc_cli_option_kind kind;
  const char *help; /* NULL: hidden */
  const char *same_as; /* alias of this long name, or NULL */
};
struct lc_cli_args {
  unsigned n_options;
  struct { const char *name, *value; } options[LC_CLI_MAX_OPTIONS]; /* value NULL for flags */
  int n;
  char **positional;
};
struct lc_cli;
struct lc_cli_command {
  const char *name, *arguments, *summary;
  bool unstable;      /* warns first (spec/04 §7.1) */
  bool raw;           /* all arguments are positional: the command has its own subcommands */
  int min, max;       /* positional arguments; max -1: any number */
  const struct lc_cli_option *options;
  int (*run)(struct lc_cli *cli, const struct lc_cli_args *args);
};
const char *lc_cli_value(const struct lc_cli_args *args, const char *name); /* last one; NULL if absent or without value */
const char *lc_cli_value_nth(const struct lc_cli_args *args, const char *name, unsigned nth); /* nth occurrence, NULL after the last */
bool lc_cli_has(const struct lc_cli_args *args, const char *name);
/* Runs argv[0..argc) as a subcommand of `commands` (n of them); prints usage and returns 2 when wrong. */
int lc_cli_dispatch(struct lc_cli *cli, const char *prefix, const struct lc_cli_command *commands, unsigned n, int argc, char **argv);
int lc_cli_usage_error(struct lc_cli *cli, const char *fmt, ...) LC_PRINTF(2, 3); /* returns 2 */
/* False, with usage printed, if `--confirmed` is there and neither true nor false. */
bool lc_cli_confirmed_ok(struct lc_cli *cli, const struct lc_cli_args *args);

/* ---- one run (cli.c) ---- */

struct lc_cli_config;
struct lc_cli_project;
struct lc_cli {
  const char *program;
  char *root_dir;      /* --root-dir or NULL */
  char *config_dir;    /* holds cli.toml and the server's keys */
  char *data_dir;      /* default of `start` */
  struct lc_cli_config *config;
  struct lc_buf error; /* text of the failure */
  char usage[1024];    /* of the command being parsed */
};
int lc_cli_fail(struct lc_cli *cli, const char *fmt, ...) LC_PRINTF(2, 3);  /* replaces the error text; returns 1 */
int lc_cli_cause(struct lc_cli *cli, const char *fmt, ...) LC_PRINTF(2, 3); /* appends to its `Caused by:` list; returns 1 */
_Noreturn void lc_cli_out_of_memory(void);
char *lc_cli_format(const char *fmt, ...) LC_PRINTF(1, 2); /* never NULL */
char *lc_cli_text(struct lc_buf *b);                       /* NUL-terminated; takes the buffer's bytes; never NULL */
char *lc_cli_copy(const char *s);                          /* never NULL for a non-NULL s */
/* `spacetime` in the folder that an environment variable names, or in `under_home` of the home folder. */
char *lc_cli_user_dir(const char *variable, const char *under_home);
/* Asks `question [y/N] `; `yes` answers for the user. End of input is "no". */
bool lc_cli_confirm(bool yes, const char *question);
char *lc_cli_read_line(void); /* from stdin, without the line end; NULL at the end of input */
void lc_cli_print(const struct lc_buf *out);                 /* to stdout */
bool lc_cli_read_file(struct lc_cli *cli, const char *path, struct lc_buf *out); /* false: error set */
bool lc_cli_database_name_ok(const char *name, const char **why); /* spec/04 §1 */
bool lc_cli_is_identity(const char *text);                        /* 64 hex digits, optional 0x */

/* ---- cli.toml (config.c) ---- */

struct lc_cli_server { char *nickname, *host, *protocol, *fingerprint; }; /* each may be NULL but host and protocol */
/* Reads cli.toml; a missing file gives the initial content of spec/04 §7.1, marked unsaved. NULL with *err when damaged. */
struct lc_cli_config *lc_cli_config_load(const char *path, struct lc_error *err);
void lc_cli_config_free(struct lc_cli_config *c);
bool lc_cli_config_is_new(const struct lc_cli_config *c);
const char *lc_cli_config_path(const struct lc_cli_config *c);
char *lc_cli_config_get(const struct lc_cli_config *c, const char *key);              /* top-level string; NULL if absent */
void lc_cli_config_set(struct lc_cli_config *c, const char *key, const char *value);  /* value NULL: removed */
unsigned lc_cli_config_servers(const struct lc_cli_config *c);
void lc_cli_config_server(const struct lc_cli_config *c, unsigned i, struct lc_cli_server *out); /* free with lc_cli_server_free */
void lc_cli_config_put_server(struct lc_cli_config *c, unsigned i, const struct lc_cli_server *s); /* i == count appends */
void lc_cli_config_remove_server(struct lc_cli_config *c, unsigned i);
void lc_cli_server_free(struct lc_cli_server *s);
int lc_cli_config_find(const struct lc_cli_config *c, const char *name);              /* by nickname, then host; -1 if none */
char *lc_cli_config_render(const struct lc_cli_config *c);
enum lc_status lc_cli_config_save(struct lc_cli_config *c, struct lc_error *err);     /* says so on stderr */

/* ---- TOML (toml.c) ---- */

const char *lc_cli_toml_line_end(const char *p, const char *end);         /* of the logical line at p: past multi-line strings and arrays */
const char *lc_cli_toml_skip_blank(const char *p);
const char *lc_cli_toml_value_of(const char *line, const char *key);      /* the value's place in a line `key = value`, or NULL */
char *lc_cli_toml_text(const char *value);                                /* a string or bare value as text */
enum lc_cli_toml_kind { LC_CLI_TOML_TEXT, LC_CLI_TOML_NUMBER, LC_CLI_TOML_FRACTION, LC_CLI_TOML_BOOL, LC_CLI_TOML_LIST };
struct lc_cli_toml_entry { unsigned line; const char *section, *key, *value; enum lc_cli_toml_kind kind; }; /* value: as text, elements of a list with commas between */
/* Every key of a file in order. False: the file is malformed, or fn returned false with *err set; *err begins with `line N`. */
bool lc_cli_toml_each(const char *text, bool (*fn)(void *ctx, const struct lc_cli_toml_entry *entry, struct lc_error *err), void *ctx, struct lc_error *err);

/* ---- options of `start`, from the command line and config.toml (start_config.c, start_options.h) ---- */

enum lc_cli_start_id {
#define START_OPTION(id, ...) START_##id,
#define CONFIG_KEY(id, ...) START_##id,
#include "start_options.h"
  START_N
};
/* What was given; NULL: nothing. from: `--NAME`, or file, line and key, for messages. */
struct lc_cli_start_values { struct { char *text, *from; } given[START_N]; };
/* 0, or an exit code with the error set or usage printed. Reads DATA_DIR/config.toml; writes one that says all defaults if there is none. */
int lc_cli_start_values_load(struct lc_cli *cli, const struct lc_cli_args *args, const char *data_dir, struct lc_cli_start_values *v);
void lc_cli_start_values_free(struct lc_cli_start_values *v);
/* Values of their form, or `none`; they were checked when they were read. */
uint64_t lc_cli_start_number(const struct lc_cli_start_values *v, enum lc_cli_start_id id, uint64_t none); /* bytes, milliseconds, 0 and 1 for false and true */

/* ---- HTTP (http.c) ---- */

struct lc_cli_request {
  const char *method, *url;
  const char *token;         /* Bearer, or NULL */
  const char *content_type;  /* or NULL */
  const char *const *headers; /* NULL-terminated further header lines, or NULL */
  struct lc_slice body;
  bool has_body;
  bool (*on_data)(void *ctx, struct lc_slice bytes); /* for 2xx bodies, as they come; NULL: collected. false stops */
  void *ctx;
  long timeout_s;            /* 0: none */
};
struct lc_cli_reply { long status; struct lc_buf body; }; /* body is NUL-terminated behind its length */
/* 0 with *reply (free with lc_buf_free), whatever the status; 1 with the error set when no answer came. */
int lc_cli_http(struct lc_cli *cli, const struct lc_cli_request *request, struct lc_cli_reply *reply);
const char *lc_cli_http_reason(long status);
/* Fails with the body as text and the status as cause. Returns 1. */
int lc_cli_http_fail(struct lc_cli *cli, const struct lc_cli_reply *reply, const char *url);
char *lc_cli_url_escape(const char *text);

/* ---- server, token, database (session.c) ---- */

char *lc_cli_server_url(struct lc_cli *cli, const char *server); /* without trailing slash; NULL: error set. server NULL: default */
bool lc_cli_url_is_local(const char *url);
/* A token for `url`: the saved one, or a new identity of that server which is then saved. *token NULL when `anonymous`. */
int lc_cli_token(struct lc_cli *cli, const char *url, bool anonymous, char **token);
char *lc_cli_token_identity(const char *token);                  /* 64 hex digits; NULL if not a JWT with issuer and subject */
int lc_cli_login_direct(struct lc_cli *cli, const char *url, char **token);
/* The identity (64 hex) of a database. */
int lc_cli_database(struct lc_cli *cli, const char *url, const char *name, const char *token, char **identity);
/* Common start of commands on one database: server, token, identity. Free with lc_cli_target_free. */
struct lc_cli_target { char *url, *token, *name, *identity; };
int lc_cli_target(struct lc_cli *cli, const struct lc_cli_args *args, const char *database, struct lc_cli_target *t);
void lc_cli_target_free(struct lc_cli_target *t);
/* For commands whose first argument may be left out when one database is configured: *database is it or NULL, *next the first argument
 * after it (spec/04 §7.1). */
int lc_cli_leading_database(struct lc_cli *cli, const struct lc_cli_args *args, const char **database, int *next);
/* GET of a path under the target's database; the path starts with '/'. */
int lc_cli_target_request(struct lc_cli *cli, const struct lc_cli_target *t, const char *method, const char *path, const char *content_type, const struct lc_slice *body, struct lc_cli_reply *reply);

/* ---- spacetime.json (project.c) ---- */

/* The value of `key` for the target that `database` names (NULL: the only one), or NULL. Without a project file everything is NULL. */
struct lc_cli_project *lc_cli_project_load(struct lc_cli *cli, const char *env); /* NULL with error set only when a file is damaged */
void lc_cli_project_free(struct lc_cli_project *p);
unsigned lc_cli_project_targets(const struct lc_cli_project *p);
const char *lc_cli_project_text(const struct lc_cli_project *p, unsigned target, const char *key); /* belongs to p; NULL if absent */
bool lc_cli_project_bool(const struct lc_cli_project *p, unsigned target, const char *key);
char *lc_cli_project_path(const struct lc_cli_project *p, unsigned target, const char *key);       /* made relative to the file */
unsigned lc_cli_project_env(const struct lc_cli_project *p, unsigned target, unsigned i, const char **key, char **value); /* 1 while there is an i-th; 2: value of a wrong kind */
/* The entries of a target's `generate`; values belong to the caller, NULL if absent. is_path: made relative to the file. */
unsigned lc_cli_project_entries(const struct lc_cli_project *p, unsigned target);
char *lc_cli_project_entry(const struct lc_cli_project *p, unsigned target, unsigned entry, const char *key, bool is_path);
bool lc_cli_project_entry_bool(const struct lc_cli_project *p, unsigned target, unsigned entry, const char *key);
/* *run: the client's command of `dev`, the caller's, or NULL. */
int lc_cli_project_dev(struct lc_cli *cli, const struct lc_cli_project *p, unsigned target, char **run);
void lc_cli_project_announce(const struct lc_cli_project *p); /* `Using configuration from PATH` lines */
bool lc_cli_glob(const char *pattern, const char *text);      /* `*` only */

/* ---- JSON text without numbers losing digits (json_text.c) ---- */

struct lc_cli_json { const uint8_t *p, *end; };
bool lc_cli_json_value(struct lc_cli_json *j, struct lc_slice *value);                   /* steps over one value */
bool lc_cli_json_enter(struct lc_slice value, char open, struct lc_cli_json *j);         /* into an array or object */
bool lc_cli_json_item(struct lc_cli_json *j, struct lc_slice *value);                    /* next element; false at the end */
bool lc_cli_json_member(struct lc_slice object, const char *name, struct lc_slice *value);
void lc_cli_json_pretty(struct lc_buf *out, struct lc_slice value);                      /* two-space indent, no final line end */

/* ---- tables (table.c) ---- */

/* cells: header row, then n_rows rows, row-major. psql style of spec/04 §7.4. */
void lc_cli_table_psql(struct lc_buf *out, unsigned n_columns, unsigned n_rows, const struct lc_slice *cells);
/* The same without lines between cells (server list). */
void lc_cli_table_plain(struct lc_buf *out, unsigned n_columns, unsigned n_rows, const struct lc_slice *cells);
struct lc_cli_sql_stats { uint64_t rows, inserted, deleted, updated, duration_us; };
/* One statement's result object (spec/04 §3.7) as a table, each line ended; an empty line if it has no columns. */
enum lc_status lc_cli_sql_table(struct lc_buf *out, struct lc_slice statement, struct lc_cli_sql_stats *stats, struct lc_error *err);

/* ---- commands ---- */

int lc_cli_cmd_import(struct lc_cli *cli, const struct lc_cli_args *args);
int lc_cli_cmd_check(struct lc_cli *cli, const struct lc_cli_args *args);
int lc_cli_cmd_log(struct lc_cli *cli, const struct lc_cli_args *args);
int lc_cli_cmd_start(struct lc_cli *, const struct lc_cli_args *);
int lc_cli_cmd_publish(struct lc_cli *, const struct lc_cli_args *);
int lc_cli_cmd_dev(struct lc_cli *, const struct lc_cli_args *);
int lc_cli_cmd_init(struct lc_cli *, const struct lc_cli_args *);
int lc_cli_cmd_generate(struct lc_cli *, const struct lc_cli_args *);
int lc_cli_cmd_build(struct lc_cli *, const struct lc_cli_args *);
int lc_cli_cmd_call(struct lc_cli *, const struct lc_cli_args *);
int lc_cli_cmd_sql(struct lc_cli *, const struct lc_cli_args *);
int lc_cli_cmd_logs(struct lc_cli *, const struct lc_cli_args *);
int lc_cli_cmd_describe(struct lc_cli *, const struct lc_cli_args *);
int lc_cli_cmd_list(struct lc_cli *, const struct lc_cli_args *);
int lc_cli_cmd_delete(struct lc_cli *, const struct lc_cli_args *);
int lc_cli_cmd_rename(struct lc_cli *, const struct lc_cli_args *);
int lc_cli_cmd_lock(struct lc_cli *, const struct lc_cli_args *);
int lc_cli_cmd_unlock(struct lc_cli *, const struct lc_cli_args *);
int lc_cli_cmd_env(struct lc_cli *, const struct lc_cli_args *);
int lc_cli_cmd_mcp(struct lc_cli *, const struct lc_cli_args *);
int lc_cli_cmd_login(struct lc_cli *, const struct lc_cli_args *);
int lc_cli_cmd_logout(struct lc_cli *, const struct lc_cli_args *);
int lc_cli_cmd_server(struct lc_cli *, const struct lc_cli_args *);
/* Builds the module in `dir`; *path is the product, *js true for a JavaScript bundle. */
int lc_cli_build(struct lc_cli *cli, const char *dir, const char *options, bool debug, char **path, bool *js);

#endif
