/* The command line's entry: global options, the table of commands, parsing of options, help, prompts and error output (spec/04 §7).
 *
 * Options are described by tables; a value may follow as the next argument, after `=`, or directly behind a letter. Of a repeated option
 * the last one wins unless the command reads them all. Exit codes: 0, 1 with `Error:`, 2 wrong usage. Callers: src/main.c.
 */
#include "cli_internal.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SERVER {"server", 's', LC_CLI_VALUE, "The nickname, host name or URL of the server", NULL}
#define YES {"yes", 'y', LC_CLI_OPTIONAL, "Run non-interactively, answering yes to every question", NULL}
#define ANONYMOUS {"anonymous", 0, LC_CLI_FLAG, "Perform this action with an anonymous identity", NULL}
#define NO_CONFIG {"no-config", 0, LC_CLI_FLAG, "Ignore spacetime.json", NULL}
#define CONFIRMED {"confirmed", 0, LC_CLI_VALUE, "Whether to wait until the transaction is durable (true or false)", NULL}
#define MODULE_PATH {"module-path", 'p', LC_CLI_VALUE, "The folder of the module's project", NULL}
#define PROJECT_PATH {"project-path", 0, LC_CLI_VALUE, NULL, "module-path"}
#define BUILD_OPTIONS {"build-options", 0, LC_CLI_VALUE, "Options of the build command", NULL}
#define PROGRAM_FILES {"bin-path", 'b', LC_CLI_VALUE, "A compiled WebAssembly module instead of a project", NULL}, {"js-path", 'j', LC_CLI_VALUE, "A bundled JavaScript module instead of a project", NULL}
#define ENVIRONMENT {"env", 0, LC_CLI_VALUE, "Environment of the project configuration", NULL}
#define DEBUG {"debug", 'd', LC_CLI_FLAG, "Build without optimisation", NULL}
#define DOTNET {"native-aot", 0, LC_CLI_FLAG, NULL, NULL}, {"dotnet-version", 0, LC_CLI_VALUE, NULL, NULL}
#define END {NULL, 0, LC_CLI_FLAG, NULL, NULL}

static const struct lc_cli_option database_options[] = {SERVER, YES, NO_CONFIG, ANONYMOUS, END};
static const struct lc_cli_option query_options[] = {SERVER, YES, NO_CONFIG, ANONYMOUS, CONFIRMED, END};
static const struct lc_cli_option no_options[] = {END};
#define FLAG LC_CLI_FLAG
#define TEXT LC_CLI_VALUE
#define NUMBER LC_CLI_VALUE
#define BYTES LC_CLI_VALUE
#define TIME LC_CLI_VALUE
#define LIST LC_CLI_VALUE
static const struct lc_cli_option start_options[] = {
#define START_OPTION(id, name, letter, form, section, key, default_text, help) {name, letter, form, form != LC_CLI_FLAG && sizeof default_text > 1 ? help " (default " default_text ")" : help, NULL},
#include "start_options.h"
  {"jwt-key-dir", 0, LC_CLI_VALUE, NULL, NULL},
  {"page_pool_max_size", 0, LC_CLI_VALUE, NULL, NULL},
  {"enable-tracy", 0, LC_CLI_FLAG, NULL, NULL},
  {"edition", 0, LC_CLI_VALUE, NULL, NULL},
  END};
#undef FLAG
#undef TEXT
#undef NUMBER
#undef BYTES
#undef TIME
#undef LIST
static const struct lc_cli_option import_options[] = {
  {"name", 0, LC_CLI_VALUE, "The name of the database", NULL},
  {"data-dir", 0, LC_CLI_VALUE, "The folder of the server's data, which no server may be using", NULL}, END};
static const struct lc_cli_option publish_options[] = {
  {"delete-data", 'c', LC_CLI_OPTIONAL, "Delete the database's data first: always (default), on-conflict, never", NULL},
  {"clear-database", 0, LC_CLI_OPTIONAL, NULL, "delete-data"},
  MODULE_PATH,
  PROGRAM_FILES,
  BUILD_OPTIONS,
  {"break-clients", 0, LC_CLI_FLAG, "Allow changes that break existing clients", NULL},
  {"num-replicas", 0, LC_CLI_VALUE, NULL, NULL},
  {"parent", 0, LC_CLI_VALUE, "Name or identity of the parent database", NULL},
  {"organization", 0, LC_CLI_VALUE, "Name or identity of the organization", NULL},
  {"org", 0, LC_CLI_VALUE, NULL, "organization"},
  ENVIRONMENT,
  {"env-only", 0, LC_CLI_FLAG, "Update environment values without a program", NULL},
  {"unset-env", 0, LC_CLI_VALUE, "Remove one environment value (repeatable)", NULL},
  {"replace-env", 0, LC_CLI_FLAG, "Remove all environment values first", NULL},
  DOTNET,
  DEBUG,
  SERVER, YES, NO_CONFIG, ANONYMOUS, END};
static const struct lc_cli_option build_options[] = {
  MODULE_PATH,
  PROJECT_PATH,
  {"lint-dir", 0, LC_CLI_VALUE, NULL, NULL},
  DEBUG,
  DOTNET,
  {"build-options", 0, LC_CLI_VALUE, NULL, NULL}, END};
static const struct lc_cli_option init_options[] = {
  {"lang", 0, LC_CLI_VALUE, "The language of the module: rust or typescript", NULL},
  {"template", 't', LC_CLI_VALUE, "The template: basic-rs, basic-ts", NULL},
  {"project-path", 0, LC_CLI_VALUE, "The folder for the project (default: its name)", NULL},
  {"server-only", 0, LC_CLI_FLAG, "The module only, without a client", NULL},
  {"non-interactive", 0, LC_CLI_FLAG, "Ask nothing", NULL},
  {"local", 0, LC_CLI_FLAG, NULL, NULL}, END};
static const struct lc_cli_option dev_options[] = {
  {"project-path", 0, LC_CLI_VALUE, "The project's folder (default: this one)", NULL},
  {"module-path", 0, LC_CLI_VALUE, "The folder of the module's project", NULL},
  {"module-bindings-path", 0, LC_CLI_VALUE, "The folder for the client's bindings (default src/module_bindings)", NULL},
  {"client-lang", 0, LC_CLI_VALUE, "The language of the client's bindings, where spacetime.json does not say it", NULL},
  {"run", 0, LC_CLI_VALUE, "The client's command (default: `run` of `dev` in spacetime.json)", NULL},
  {"delete-data", 'c', LC_CLI_OPTIONAL, "Delete the database's data: always, on-conflict (default), never", NULL},
  {"server-only", 0, LC_CLI_FLAG, "Do not start the client", NULL},
  {"skip-publish", 0, LC_CLI_FLAG, "Do not publish", NULL},
  {"skip-generate", 0, LC_CLI_FLAG, "Do not make bindings", NULL},
  {"env", 0, LC_CLI_VALUE, "Environment of the project configuration (default dev)", NULL},
  {"dotnet-version", 0, LC_CLI_VALUE, NULL, NULL},
  SERVER, YES, NO_CONFIG, END};
static const struct lc_cli_option generate_options[] = {
  {"lang", 'l', LC_CLI_VALUE, "The language of the bindings: typescript or rust", NULL},
  {"out-dir", 'o', LC_CLI_VALUE, "The folder that gets the files (default src/module_bindings)", NULL},
  MODULE_PATH,
  PROJECT_PATH,
  PROGRAM_FILES,
  {"module-def", 0, LC_CLI_OPTIONAL, "A module definition in JSON instead (--module-def=FILE; without a file: standard input)", NULL},
  {"include-private", 0, LC_CLI_FLAG, "Private tables and functions too", NULL},
  BUILD_OPTIONS,
  ENVIRONMENT,
  DOTNET,
  SERVER, YES, NO_CONFIG, ANONYMOUS, END};
static const struct lc_cli_option logs_options[] = {
  {"num-lines", 'n', LC_CLI_VALUE, "The number of lines to print from the end of the log", NULL},
  {"follow", 'f', LC_CLI_FLAG, "Keep printing new lines", NULL},
  {"format", 0, LC_CLI_VALUE, "text or json", NULL},
  {"level", 'l', LC_CLI_VALUE, "The least severe level to show: trace, debug, info, warn, error, panic", NULL},
  {"level-exact", 0, LC_CLI_FLAG, "Show only exactly that level", NULL},
  SERVER, YES, NO_CONFIG, END};
static const struct lc_cli_option sql_options[] = {
  {"interactive", 0, LC_CLI_FLAG, "Read statements from the terminal", NULL},
  {"format", 0, LC_CLI_VALUE, "text or json", NULL},
  SERVER, YES, NO_CONFIG, ANONYMOUS, CONFIRMED, END};
static const struct lc_cli_option describe_options[] = {
  {"json", 0, LC_CLI_FLAG, "Print JSON", NULL},
  {"format", 0, LC_CLI_VALUE, "text or json", NULL},
  SERVER, YES, NO_CONFIG, ANONYMOUS, END};
static const struct lc_cli_option rename_options[] = {
  {"to", 0, LC_CLI_VALUE, "The new name", NULL}, SERVER, YES, NO_CONFIG, END};
static const struct lc_cli_option login_options[] = {
  {"auth-host", 0, LC_CLI_VALUE, "The host that logs users in (default https://spacetimedb.com)", NULL},
  {"server-issued-login", 0, LC_CLI_VALUE, "Get an identity from this server", NULL},
  {"token", 0, LC_CLI_OPTIONAL, "With `login`: save this token (--token=T). With `login show`: print it", NULL},
  {"no-browser", 0, LC_CLI_FLAG, "Print the login page's address only", NULL}, END};
static const struct lc_cli_option logout_options[] = {{"auth-host", 0, LC_CLI_VALUE, NULL, NULL}, END};

static int cmd_version(struct lc_cli *cli, const struct lc_cli_args *args);
static int cmd_help(struct lc_cli *cli, const struct lc_cli_args *args);

static const struct lc_cli_command commands[] = {
  {"publish", "[name|identity]", "Create and update a database", false, false, 0, 1, publish_options, lc_cli_cmd_publish},
  {"delete", "[database]", "Delete a database", false, false, 0, 1, database_options, lc_cli_cmd_delete},
  {"logs", "[database]", "Print the log of a database", false, false, 0, 1, logs_options, lc_cli_cmd_logs},
  {"call", "[database] <function> [arguments]...", "Call a reducer or a procedure", true, false, 1, -1, query_options, lc_cli_cmd_call},
  {"describe", "[database] [entity_type] [entity_name]", "Describe the structure of a database", true, false, 0, 3, describe_options, lc_cli_cmd_describe},
  {"sql", "[database] <query>", "Run an SQL statement", true, false, 0, 2, sql_options, lc_cli_cmd_sql},
  {"list", "", "List the databases of your identity", true, false, 0, 0, database_options, lc_cli_cmd_list},
  {"rename", "--to <new name> <database>", "Rename a database", false, false, 1, 1, rename_options, lc_cli_cmd_rename},
  {"lock", "[database]", "Protect a database from deletion", false, false, 0, 1, database_options, lc_cli_cmd_lock},
  {"unlock", "[database]", "Allow deletion of a database again", false, false, 0, 1, database_options, lc_cli_cmd_unlock},
  {"env", "list <database> | get <database> <key>", "Show environment values of a database", false, false, 2, 3, query_options, lc_cli_cmd_env},
  {"mcp", "[database]", "Connect standard input and output to the database's MCP endpoint", true, false, 0, 1, database_options, lc_cli_cmd_mcp},
  {"login", "[show]", "Log in, or show who is logged in", false, false, 0, 1, login_options, lc_cli_cmd_login},
  {"logout", "", "Forget the saved login", false, false, 0, 0, logout_options, lc_cli_cmd_logout},
  {"server", "<command>", "Manage the saved servers", true, true, 0, -1, no_options, lc_cli_cmd_server},
  {"build", "", "Build a module", false, false, 0, 0, build_options, lc_cli_cmd_build},
  {"init", "[project name]", "Make a new project from a template", false, false, 0, 1, init_options, lc_cli_cmd_init},
  {"dev", "[database]", "Publish, generate and run the client again at every change of the module", false, false, 0, 1, dev_options, lc_cli_cmd_dev},
  {"generate", "[database]", "Make client bindings of a module", false, false, 0, 1, generate_options, lc_cli_cmd_generate},
  {"start", "", "Start a server", false, false, 0, 0, start_options, lc_cli_cmd_start},
  {"import", "--name <name> <replica folder>", "Make a database of a replica folder of SpacetimeDB, while no server runs", false, false, 1, 1, import_options, lc_cli_cmd_import},
  {"check", "<folder>", "Verify a data folder or a replica folder, while no server runs", false, false, 1, 1, no_options, lc_cli_cmd_check},
  {"log", "dump <replica folder|segment>", "Print the records of a commit log", false, false, 2, 2, no_options, lc_cli_cmd_log},
  {"version", "", "Print the version", false, false, 0, -1, no_options, cmd_version},
  {"help", "[command]", "Print help", false, false, 0, 1, no_options, cmd_help},
};
enum { N_COMMANDS = sizeof commands / sizeof *commands };

/* ---- text helpers ---- */

void lc_cli_out_of_memory(void) {
  fputs("Error: out of memory\n", stderr);
  exit(1);
}

char *lc_cli_text(struct lc_buf *b) {
  lc_buf_u8(b, 0);
  if (!lc_buf_ok(b)) lc_cli_out_of_memory();
  char *text = (char *)b->data;
  *b = (struct lc_buf){0};
  return text;
}

char *lc_cli_format(const char *fmt, ...) {
  char *text = NULL;
  va_list ap;
  va_start(ap, fmt);
  int n = vasprintf(&text, fmt, ap);
  va_end(ap);
  if (n < 0) lc_cli_out_of_memory();
  char *copy = lc_cli_copy(text);
  free(text);
  return copy;
}

char *lc_cli_copy(const char *s) {
  if (!s) return NULL;
  char *copy = lc_strdup_n(s, strlen(s));
  if (!copy) lc_cli_out_of_memory();
  return copy;
}

static void error_append(struct lc_cli *cli, const char *fmt, va_list ap) {
  char *text = NULL;
  if (vasprintf(&text, fmt, ap) < 0) lc_cli_out_of_memory();
  lc_buf_str(&cli->error, text);
  free(text);
}

int lc_cli_fail(struct lc_cli *cli, const char *fmt, ...) {
  va_list ap;
  lc_buf_clear(&cli->error);
  va_start(ap, fmt);
  error_append(cli, fmt, ap);
  va_end(ap);
  return 1;
}

int lc_cli_cause(struct lc_cli *cli, const char *fmt, ...) {
  va_list ap;
  while (cli->error.len && cli->error.data[cli->error.len - 1] == '\n') cli->error.len--;
  lc_buf_str(&cli->error, "\n\nCaused by:\n    ");
  va_start(ap, fmt);
  error_append(cli, fmt, ap);
  va_end(ap);
  return 1;
}

void lc_cli_print(const struct lc_buf *out) {
  if (out->len) fwrite(out->data, 1, out->len, stdout);
  fflush(stdout);
}

char *lc_cli_read_line(void) {
  char *line = NULL;
  size_t cap = 0;
  ssize_t n = getline(&line, &cap, stdin);
  char *copy = NULL;
  if (n >= 0) {
    while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r')) n--;
    copy = lc_strdup_n(line, (size_t)n);
    if (!copy) lc_cli_out_of_memory();
  }
  free(line);
  return copy;
}

bool lc_cli_confirm(bool yes, const char *question) {
  printf("%s [y/N] ", question);
  if (yes) puts("\nSkipping confirmation due to --yes");
  fflush(stdout);
  if (yes) return true;
  char *line = lc_cli_read_line();
  const char *p = line ? line : "";
  while (*p == ' ' || *p == '\t') p++;
  bool answer = strcmp(p, "y") == 0 || strcmp(p, "Y") == 0 || strcmp(p, "yes") == 0 || strcmp(p, "Yes") == 0 || strcmp(p, "YES") == 0;
  lc_free(line);
  return answer;
}

bool lc_cli_read_file(struct lc_cli *cli, const char *path, struct lc_buf *out) {
  FILE *f = fopen(path, "re");
  if (!f) {
    lc_cli_fail(cli, "failed to open `%s`: %m", path);
    return false;
  }
  bool ok = true;
  size_t n = 1;
  while (ok && n > 0) {
    ok = lc_buf_reserve(out, 65536) && out->len <= LC_CLI_FILE_MAX_BYTES;
    n = ok ? fread(out->data + out->len, 1, 65536, f) : 0;
    out->len += n;
  }
  if (!ok) lc_cli_fail(cli, "`%s` is larger than %u bytes", path, LC_CLI_FILE_MAX_BYTES);
  else if (ferror(f)) ok = lc_cli_fail(cli, "failed to read `%s`: %m", path) == 0;
  fclose(f);
  if (!ok) lc_buf_free(out);
  return ok;
}

/* ---- options ---- */

const char *lc_cli_value_nth(const struct lc_cli_args *args, const char *name, unsigned nth) {
  for (unsigned i = 0; i < args->n_options; i++)
    if (strcmp(args->options[i].name, name) == 0 && nth-- == 0) return args->options[i].value;
  return NULL;
}

const char *lc_cli_value(const struct lc_cli_args *args, const char *name) {
  for (unsigned i = args->n_options; i-- > 0;)
    if (strcmp(args->options[i].name, name) == 0) return args->options[i].value;
  return NULL;
}

bool lc_cli_has(const struct lc_cli_args *args, const char *name) {
  for (unsigned i = 0; i < args->n_options; i++)
    if (strcmp(args->options[i].name, name) == 0) return true;
  return false;
}

int lc_cli_usage_error(struct lc_cli *cli, const char *fmt, ...) {
  va_list ap;
  fflush(stdout);
  fputs("error: ", stderr);
  va_start(ap, fmt);
  vfprintf(stderr, fmt, ap);
  va_end(ap);
  fprintf(stderr, "\n\nUsage: %s\n\nFor more information, try '--help'.\n", cli->usage);
  return 2;
}

bool lc_cli_confirmed_ok(struct lc_cli *cli, const struct lc_cli_args *args) {
  const char *v = lc_cli_value(args, "confirmed");
  if (!v || strcmp(v, "true") == 0 || strcmp(v, "false") == 0) return true;
  lc_cli_usage_error(cli, "invalid value '%s' for '--confirmed <VALUE>'\n  [possible values: true, false]", v);
  return false;
}

static const struct lc_cli_option *find_option(const struct lc_cli_option *list, const char *name, size_t len, char letter) {
  const struct lc_cli_option *o = list;
  while (o->name && !(name ? strlen(o->name) == len && strncmp(o->name, name, len) == 0 : o->letter && o->letter == letter)) o++;
  if (!o->name) return NULL;
  return o->same_as ? find_option(list, o->same_as, strlen(o->same_as), 0) : o;
}

static bool is_number(const char *text) { return text[0] == '-' && ((text[1] >= '0' && text[1] <= '9') || text[1] == '.'); }

/* Reads options out of argv into *args; what remains becomes positional (args->positional has room for argc). Returns 0 or 2. */
static int parse_options(struct lc_cli *cli, const struct lc_cli_option *list, int argc, char **argv, struct lc_cli_args *args) {
  bool plain = false;
  for (int i = 0; i < argc; i++) {
    char *a = argv[i];
    if (plain || a[0] != '-' || a[1] == 0 || is_number(a)) {
      args->positional[args->n++] = a;
      continue;
    }
    if (strcmp(a, "--") == 0) {
      plain = true;
      continue;
    }
    bool is_long = a[1] == '-';
    const char *name = is_long ? a + 2 : a + 1, *equals = strchr(name, '=');
    for (bool more = true; more;) {
      more = false;
      size_t len = is_long ? (equals ? (size_t)(equals - name) : strlen(name)) : 1;
      const struct lc_cli_option *o = find_option(list, is_long ? name : NULL, len, is_long ? 0 : *name);
      if (!o) return lc_cli_usage_error(cli, "unexpected argument '%s' found", a);
      if (args->n_options == LC_CLI_MAX_OPTIONS) return lc_cli_usage_error(cli, "too many options");
      const char *value = is_long ? (equals ? equals + 1 : NULL) : name[1] == '=' ? name + 2 : NULL;
      if (o->kind == LC_CLI_VALUE && !value) {
        if (!is_long && name[1]) value = name + 1;
        else if (i + 1 < argc) value = argv[++i];
        else return lc_cli_usage_error(cli, "a value is required for '--%s <VALUE>' but none was supplied", o->name);
      } else if (o->kind == LC_CLI_FLAG && value) {
        return lc_cli_usage_error(cli, "unexpected value '%s' for '--%s' found; no more were expected", value, o->name);
      }
      args->options[args->n_options].name = o->name;
      args->options[args->n_options++].value = value;
      if (!is_long && !value && name[1]) {
        name++;
        more = true;
      }
    }
  }
  return 0;
}

static const char *value_text(const struct lc_cli_option *o) { return o->kind == LC_CLI_VALUE ? " <VALUE>" : o->kind == LC_CLI_OPTIONAL ? "[=<VALUE>]" : ""; }
static void print_help(FILE *out, const char *prefix, const struct lc_cli_command *c) {
  fprintf(out, "%s\n\nUsage: %s %s [OPTIONS]%s%s\n\nOptions:\n", c->summary, prefix, c->name, *c->arguments ? " " : "", c->arguments);
  int width = 26;
  char text[64];
  for (const struct lc_cli_option *o = c->options; o->name; o++) {
    int n = o->help ? snprintf(text, sizeof text, "--%s%s", o->name, value_text(o)) : 0;
    if (n > width) width = n;
  }
  for (const struct lc_cli_option *o = c->options; o->name; o++) {
    if (!o->help) continue;
    snprintf(text, sizeof text, "--%s%s", o->name, value_text(o));
    fprintf(out, "  %c%c%s %-*s %s\n", o->letter ? '-' : ' ', o->letter ? o->letter : ' ', o->letter ? "," : " ", width, text, o->help);
  }
  fprintf(out, "  -h, %-*s Print help\n", width, "--help");
}

static void print_commands(FILE *out, const char *prefix, const struct lc_cli_command *list, unsigned n) {
  fprintf(out, "Usage: %s [OPTIONS] <COMMAND>\n\nCommands:\n", prefix);
  for (unsigned i = 0; i < n; i++) fprintf(out, "  %-12s %s%s\n", list[i].name, list[i].summary, list[i].unstable ? " (UNSTABLE)" : "");
}

static bool wants_help(int argc, char **argv) {
  for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++)
    if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) return true;
  return false;
}

int lc_cli_dispatch(struct lc_cli *cli, const char *prefix, const struct lc_cli_command *list, unsigned n, int argc, char **argv) {
  snprintf(cli->usage, sizeof cli->usage, "%s [OPTIONS] <COMMAND>", prefix);
  if (argc == 0) {
    print_commands(stderr, prefix, list, n);
    return 2;
  }
  if (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0) {
    print_commands(stdout, prefix, list, n);
    return 0;
  }
  const struct lc_cli_command *c = NULL;
  for (unsigned i = 0; i < n && !c; i++)
    if (strcmp(list[i].name, argv[0]) == 0) c = &list[i];
  if (!c) return lc_cli_usage_error(cli, "unrecognized subcommand '%s'", argv[0]);
  snprintf(cli->usage, sizeof cli->usage, "%s %s [OPTIONS]%s%s", prefix, c->name, *c->arguments ? " " : "", c->arguments);
  argc--;
  argv++;
  if (!c->raw && wants_help(argc, argv)) {
    print_help(stdout, prefix, c);
    return 0;
  }
  struct lc_cli_args args = {0};
  args.positional = lc_alloc_zero((size_t)argc + 1, sizeof *args.positional);
  if (!args.positional) lc_cli_out_of_memory();
  int rc = 0;
  if (c->raw) {
    args.n = argc;
    memcpy(args.positional, argv, (size_t)argc * sizeof *argv);
  } else {
    rc = parse_options(cli, c->options, argc, argv, &args);
  }
  if (rc == 0 && args.n < c->min) rc = lc_cli_usage_error(cli, "the following required arguments were not provided:\n  %s", c->arguments);
  if (rc == 0 && c->max >= 0 && args.n > c->max) rc = lc_cli_usage_error(cli, "unexpected argument '%s' found", args.positional[c->max]);
  if (rc == 0 && c->unstable) fputs("WARNING: This command is UNSTABLE and subject to breaking changes.\n\n", stderr);
  if (rc == 0) rc = c->run(cli, &args);
  lc_free(args.positional);
  return rc;
}

/* ---- version, help, main ---- */

static void print_version(const struct lc_cli *cli) {
  char path[4096];
  ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
  path[n > 0 ? n : 0] = 0;
  printf("spacetime Path: %s\nCommit: none (Lightcone, an independent implementation)\nspacetimedb tool version %s; spacetimedb-lib version %s;\n", n > 0 ? path : cli->program, LC_CLI_VERSION, LC_CLI_VERSION);
}

static int cmd_version(struct lc_cli *cli, const struct lc_cli_args *args) {
  if (args->n > 0) return lc_cli_fail(cli, "`version %s` is not offered: this program does not install other versions of itself", args->positional[0]);
  print_version(cli);
  return 0;
}

static int cmd_help(struct lc_cli *cli, const struct lc_cli_args *args) {
  if (args->n == 0) {
    print_commands(stdout, cli->program, commands, N_COMMANDS);
    return 0;
  }
  for (unsigned i = 0; i < N_COMMANDS; i++) {
    if (strcmp(commands[i].name, args->positional[0]) != 0) continue;
    if (commands[i].raw) {
      char *help[] = {"--help"};
      struct lc_cli_args inner = {.n = 1, .positional = help};
      return commands[i].run(cli, &inner);
    }
    print_help(stdout, cli->program, &commands[i]);
    return 0;
  }
  return lc_cli_usage_error(cli, "unrecognized subcommand '%s'", args->positional[0]);
}

char *lc_cli_user_dir(const char *variable, const char *under_home) {
  const char *base = getenv(variable), *home = getenv("HOME");
  if (base && *base == '/') return lc_cli_format("%s/spacetime", base);
  return lc_cli_format("%s/%s/spacetime", home && *home ? home : ".", under_home);
}

/* The value of a global option at argv[*i] (`--name V` or `--name=V`), or NULL. */
static const char *global_value(int argc, char **argv, int *i, const char *name) {
  size_t n = strlen(name);
  if (strncmp(argv[*i], name, n) != 0) return NULL;
  if (argv[*i][n] == '=') return argv[*i] + n + 1;
  return argv[*i][n] == 0 && *i + 1 < argc ? argv[++*i] : NULL;
}

static void report(const struct lc_cli *cli) {
  fflush(stdout);
  size_t n = cli->error.len;
  while (n && cli->error.data[n - 1] == '\n') n--;
  fprintf(stderr, "Error: %.*s\n", (int)n, n ? (const char *)cli->error.data : "");
}

int lc_cli_main(int argc, char **argv) {
  struct lc_cli cli = {0};
  const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL, *config_path = NULL, *root = NULL;
  cli.program = argc > 0 ? (slash ? slash + 1 : argv[0]) : "spacetime";
  snprintf(cli.usage, sizeof cli.usage, "%s [OPTIONS] <COMMAND>", cli.program);
  char **rest = lc_alloc_zero((size_t)argc + 1, sizeof *rest);
  if (!rest) lc_cli_out_of_memory();
  int n = 0, rc = 0;
  bool plain = false;
  for (int i = 1; i < argc && rc == 0; i++) { /* global options may stand anywhere */
    const char *v;
    plain |= strcmp(argv[i], "--") == 0;
    if (!plain && (v = global_value(argc, argv, &i, "--root-dir"))) root = v;
    else if (!plain && (v = global_value(argc, argv, &i, "--config-path"))) config_path = v;
    else rest[n++] = argv[i];
  }
  if (n > 0 && (strcmp(rest[0], "-V") == 0 || strcmp(rest[0], "--version") == 0)) {
    if (rest[0][1] == 'V') puts("spacetime " LC_CLI_VERSION);
    else print_version(&cli);
    lc_free(rest);
    return 0;
  }
  cli.root_dir = lc_cli_copy(root);
  cli.config_dir = root ? lc_cli_format("%s/config", root) : lc_cli_user_dir("XDG_CONFIG_HOME", ".config");
  char *share = root ? lc_cli_copy(root) : lc_cli_user_dir("XDG_DATA_HOME", ".local/share");
  cli.data_dir = lc_cli_format("%s/data", share);
  lc_free(share);
  char *path = config_path ? lc_cli_copy(config_path) : lc_cli_format("%s/cli.toml", cli.config_dir);
  struct lc_error err = {0};
  cli.config = lc_cli_config_load(path, &err);
  lc_free(path);
  bool quiet = n == 0 || strcmp(rest[0], "help") == 0 || strcmp(rest[0], "version") == 0 || wants_help(n, rest); /* needs no file */
  if (!cli.config) rc = lc_cli_fail(&cli, "%s", err.text);
  else if (lc_cli_config_is_new(cli.config) && !quiet && lc_cli_config_save(cli.config, &err) != LC_OK) fprintf(stderr, "Warning: %s\n", err.text);
  if (rc == 0) rc = lc_cli_dispatch(&cli, cli.program, commands, N_COMMANDS, n, rest);
  if (rc == 0 && (fflush(stdout) != 0 || ferror(stdout))) rc = lc_cli_fail(&cli, "could not write the output: %m");
  if (rc == 1 && cli.error.len) report(&cli);
  fflush(stdout);
  lc_cli_config_free(cli.config);
  lc_buf_free(&cli.error);
  lc_free(cli.root_dir);
  lc_free(cli.config_dir);
  lc_free(cli.data_dir);
  lc_free(rest);
  return rc;
}
