/* Commands on folders instead of servers: `import`, `check`, `log dump`. Callers: the table of cli.c. */
#include "../api/api.h"
#include "cli_internal.h"
#include <stdio.h>
#include <sys/stat.h>

int lc_cli_cmd_import(struct lc_cli *cli, const struct lc_cli_args *args) {
  const char *name = lc_cli_value(args, "name"), *data = lc_cli_value(args, "data-dir"), *why;
  struct lc_identity id;
  struct lc_error err = {0};
  uint64_t n;
  char hex[65];
  if (!name) return lc_cli_usage_error(cli, "the following required arguments were not provided:\n  --name <VALUE>");
  if (!lc_cli_database_name_ok(name, &why)) return lc_cli_fail(cli, "invalid database name `%s`: %s", name, why);
  if (!data) data = cli->data_dir;
  struct stat st;
  if (stat(data, &st) != 0 && mkdir(data, 0777) != 0) return lc_cli_fail(cli, "cannot create folder %s: %m", data);
  if (lc_server_import(data, args->positional[0], name, &id, &n, &err) != LC_OK) return lc_cli_fail(cli, "%s", err.text);
  lc_identity_hex(&id, hex);
  printf("Imported database %s with identity %s: %llu transactions\n", name, hex, (unsigned long long)n);
  return 0;
}

static void on_report(void *ctx, bool is_bad, const char *text) {
  (void)ctx;
  printf("%s %s\n", is_bad ? "BAD" : "ok ", text);
}
int lc_cli_cmd_check(struct lc_cli *cli, const struct lc_cli_args *args) {
  struct lc_error err = {0};
  return lc_server_check(args->positional[0], on_report, NULL, &err) == LC_OK ? 0 : lc_cli_fail(cli, "%s", err.text);
}

static void on_text(void *ctx, struct lc_slice text) {
  (void)ctx;
  fwrite(text.data, 1, text.len, stdout);
}
int lc_cli_cmd_log(struct lc_cli *cli, const struct lc_cli_args *args) {
  struct lc_error err = {0};
  if (strcmp(args->positional[0], "dump") != 0) return lc_cli_usage_error(cli, "unrecognized subcommand '%s': only `log dump` is there", args->positional[0]);
  if (lc_db_dump_log(&lc_env_system, &lc_fs_posix, args->positional[1], on_text, NULL, &err) == LC_OK) return 0;
  fflush(stdout);
  return lc_cli_fail(cli, "%s", err.text);
}
