/* `generate`: client bindings of a module, from a project, a program file, a definition in JSON or a running database (spec/04 §9.1).
 *
 * The generator's files go into a temporary folder first and are formatted there; then only those that differ from what the output folder
 * has are written, so that build tools see no change where there is none. Files of an earlier run that were not made now are removed when
 * the user agrees. Callers: the table of cli.c.
 */
#include "../codegen/codegen.h"
#include "../host/host.h"
#include "build.h"
#include "schema.h"
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_STALE = 4096, MAX_FOLDERS = 32, PATH_BYTES = 4096 };

/* What one run makes, settled from arguments and configuration. Text belongs to the job. */
struct job {
  char *language, *out_dir, *module_dir, *wasm_path, *js_path, *build_options, *database;
  bool include_private;
};

static const struct language { const char *name, *out_dir; enum lc_codegen_language language; } languages[] = {
  {"typescript", "src/module_bindings", LC_CODEGEN_TYPESCRIPT},
  {"rust", "src/module_bindings", LC_CODEGEN_RUST},
};

static const struct language *find_language(const char *name) {
  static const char *const aliases[][2] = {{"ts", "typescript"}, {"rs", "rust"}};
  for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++)
    if (strcasecmp(name, aliases[i][0]) == 0) name = aliases[i][1];
  for (size_t i = 0; i < sizeof languages / sizeof *languages; i++)
    if (strcasecmp(name, languages[i].name) == 0) return &languages[i];
  return NULL;
}

/* ---- the module definition ---- */

struct source { struct lc_module *module; struct lc_module_def *own; const struct lc_module_def *def; };

static void source_free(struct source *s) {
  lc_module_unref(s->module);
  lc_module_def_free(s->own);
}

static void module_log(void *ctx, const struct lc_module_log_record *rec) { (void)ctx, (void)rec; }

static int load_program(struct lc_cli *cli, const char *path, bool js, struct source *s) {
  struct lc_buf program = {0};
  struct lc_error err = {0};
  if (!lc_cli_read_file(cli, path, &program)) return 1;
  struct lc_host_env env = {.log = module_log};
  enum lc_status st = lc_module_load(lc_buf_slice(&program), js ? LC_PROGRAM_JS : LC_PROGRAM_WASM, NULL, &env, &s->module, &err);
  lc_buf_free(&program);
  if (st != LC_OK) return lc_cli_fail(cli, "Failed to extract the schema of %s: %s", path, err.text);
  s->def = lc_module_definition(s->module);
  return 0;
}

static int load_json(struct lc_cli *cli, struct lc_slice text, struct source *s) {
  struct lc_error err = {0};
  enum lc_status st = lc_module_def_from_json(text, &s->own, &err);
  if (st != LC_OK) return lc_cli_fail(cli, "The module definition cannot be read: %s", err.text);
  s->def = s->own;
  return 0;
}

static int load_definition_file(struct lc_cli *cli, const char *path, struct source *s) {
  struct lc_buf text = {0};
  int rc = 0;
  if (path) {
    if (!lc_cli_read_file(cli, path, &text)) return 1;
  } else {
    uint8_t chunk[16384];
    ssize_t n;
    while ((n = read(STDIN_FILENO, chunk, sizeof chunk)) > 0 || (n < 0 && errno == EINTR)) {
      if (n > 0 && text.len + (size_t)n <= LC_CLI_FILE_MAX_BYTES) lc_buf_append(&text, chunk, (size_t)n);
    }
  }
  if (!lc_buf_ok(&text)) lc_cli_out_of_memory();
  rc = load_json(cli, lc_buf_slice(&text), s);
  lc_buf_free(&text);
  return rc;
}

static int load_database(struct lc_cli *cli, const struct lc_cli_args *args, const char *database, struct source *s) {
  struct lc_cli_target t = {0};
  struct lc_cli_schema schema = {0};
  int rc = lc_cli_target(cli, args, database, &t);
  if (rc == 0) rc = lc_cli_schema_fetch(cli, &t, &schema);
  if (rc == 0) rc = load_json(cli, lc_slice_str(schema.raw), s);
  lc_cli_schema_free(&schema);
  lc_cli_target_free(&t);
  return rc;
}

static int load(struct lc_cli *cli, const struct lc_cli_args *args, const struct job *job, struct source *s) {
  if (lc_cli_has(args, "module-def")) return load_definition_file(cli, lc_cli_value(args, "module-def"), s);
  if (job->wasm_path) return load_program(cli, job->wasm_path, false, s);
  if (job->js_path) return load_program(cli, job->js_path, true, s);
  if (job->database) return load_database(cli, args, job->database, s);
  char *built;
  bool js;
  int rc = lc_cli_build(cli, job->module_dir, job->build_options, false, &built, &js);
  fflush(stdout);
  if (rc == 0) rc = load_program(cli, built, js, s);
  lc_free(built);
  return rc;
}

/* ---- files ---- */

static bool make_dirs(const char *path, bool last_too) {
  char dir[PATH_BYTES];
  size_t n = strlen(path);
  if (n >= sizeof dir) return false;
  memcpy(dir, path, n + 1);
  for (char *p = dir + 1; *p; p++) {
    if (*p != '/') continue;
    *p = 0;
    if (mkdir(dir, 0777) != 0 && errno != EEXIST) return false;
    *p = '/';
  }
  return !last_too || mkdir(dir, 0777) == 0 || errno == EEXIST;
}

static bool write_text(const char *path, struct lc_slice text) {
  if (!make_dirs(path, false)) return false;
  FILE *f = fopen(path, "wb");
  if (!f) return false;
  bool ok = fwrite(text.data, 1, text.len, f) == text.len;
  return fclose(f) == 0 && ok;
}

/* Formats files in place; without the tool they stay as they are. */
static void format(const char *dir, const struct lc_codegen_output *out) {
  bool missing = false;
  for (const struct lc_codegen_file *f = out->files; f && !missing;) {
    char *argv[LC_CLI_SPAWN_MAX_ARGUMENTS] = {(char *)"rustfmt", (char *)"--edition", (char *)"2021", (char *)"--quiet"};
    int n = 4;
    for (; f && n < LC_CLI_SPAWN_MAX_ARGUMENTS - 1; f = f->next)
      if (strcmp(f->path, "mod.rs") != 0) argv[n++] = f->path; /* it would drag in all others again */
    argv[n] = NULL;
    missing = n > 4 && lc_cli_spawn(dir, argv, NULL) != 0;
  }
  char *root[] = {(char *)"rustfmt", (char *)"--edition", (char *)"2021", (char *)"--quiet", (char *)"mod.rs", NULL};
  if (missing || lc_cli_spawn(dir, root, NULL) != 0) fputs("Could not run rustfmt; the generated files are not formatted.\n", stderr);
}

struct stale { char *list[MAX_STALE]; unsigned n; };

static bool produced(const struct lc_codegen_output *out, const char *path) {
  for (const struct lc_codegen_file *f = out->files; f; f = f->next)
    if (strcmp(f->path, path) == 0) return true;
  return false;
}

static bool is_marked(const char *path) {
  char head[sizeof LC_CODEGEN_MARK] = {0};
  FILE *f = fopen(path, "rb");
  if (!f) return false;
  size_t n = fread(head, 1, sizeof head - 1, f);
  fclose(f);
  return n == sizeof head - 1 && memcmp(head, LC_CODEGEN_MARK, n) == 0;
}

/* Collects the files below `dir` that an earlier run made and this one did not. `below`: path from the output folder. */
static void find_stale(struct stale *s, const struct lc_codegen_output *out, const char *dir, const char *below, unsigned depth) {
  char *path = lc_cli_format("%s%s%s", dir, *below ? "/" : "", below);
  DIR *d = depth < MAX_FOLDERS ? opendir(path) : NULL;
  struct dirent *e;
  while (d && (e = readdir(d))) {
    struct stat st;
    if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
    char *inner = lc_cli_format("%s%s%s", below, *below ? "/" : "", e->d_name), *full = lc_cli_format("%s/%s", dir, inner);
    if (lstat(full, &st) == 0 && S_ISDIR(st.st_mode)) find_stale(s, out, dir, inner, depth + 1);
    else if (s->n < MAX_STALE && S_ISREG(st.st_mode) && is_marked(full) && !produced(out, inner)) s->list[s->n++] = lc_cli_copy(full);
    lc_free(full);
    lc_free(inner);
  }
  if (d) closedir(d);
  lc_free(path);
}

static int text_order(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static void remove_stale(const struct lc_cli_args *args, const struct lc_codegen_output *out, const char *dir) {
  struct stale s = {0};
  find_stale(&s, out, dir, "", 0);
  qsort(s.list, s.n, sizeof *s.list, text_order);
  if (s.n) {
    puts("The following files were not generated by this command and will be deleted:");
    for (unsigned i = 0; i < s.n; i++) printf("  %s\n", s.list[i]);
    if (lc_cli_confirm(lc_cli_has(args, "yes"), "Are you sure you want to delete these files?")) {
      puts("Deleting files...");
      for (unsigned i = 0; i < s.n; i++) {
        char *slash;
        if (unlink(s.list[i]) != 0) fprintf(stderr, "%s: %s\n", s.list[i], strerror(errno));
        while ((slash = strrchr(s.list[i], '/')) && (size_t)(slash - s.list[i]) > strlen(dir)) { /* the folders it left empty */
          *slash = 0;
          if (rmdir(s.list[i]) != 0) break;
        }
      }
    } else {
      puts("Files not deleted.");
    }
  }
  for (unsigned i = 0; i < s.n; i++) lc_free(s.list[i]);
}

/* Writes what differs. The temporary folder is removed again. */
static int write_output(struct lc_cli *cli, const struct lc_codegen_output *out, bool rust, const char *dir) {
  const char *tmp = getenv("TMPDIR");
  char *work = lc_cli_format("%s/lightcone-generate-XXXXXX", tmp && *tmp ? tmp : "/tmp");
  int rc = mkdtemp(work) ? 0 : lc_cli_fail(cli, "cannot make a temporary folder in %s: %s", tmp && *tmp ? tmp : "/tmp", strerror(errno));
  for (const struct lc_codegen_file *f = out->files; rc == 0 && f; f = f->next) {
    char *path = lc_cli_format("%s/%s", work, f->path);
    if (!write_text(path, lc_buf_slice(&f->text))) rc = lc_cli_fail(cli, "cannot write %s: %s", path, strerror(errno));
    lc_free(path);
  }
  if (rc == 0 && rust) format(work, out);
  for (const struct lc_codegen_file *f = out->files; f; f = f->next) {
    char *from = lc_cli_format("%s/%s", work, f->path), *to = lc_cli_format("%s/%s", dir, f->path), *slash;
    struct lc_buf made = {0}, there = {0};
    if (rc == 0 && !lc_cli_read_file(cli, from, &made)) rc = 1;
    bool same = rc == 0 && access(to, R_OK) == 0 && lc_cli_read_file(cli, to, &there) && lc_slice_eq(lc_buf_slice(&made), lc_buf_slice(&there));
    if (rc == 0 && !same && !write_text(to, lc_buf_slice(&made))) rc = lc_cli_fail(cli, "cannot write %s: %s", to, strerror(errno));
    lc_buf_free(&made);
    lc_buf_free(&there);
    unlink(from);
    while ((slash = strrchr(from, '/')) && (size_t)(slash - from) > strlen(work)) {
      *slash = 0;
      if (rmdir(from) != 0) break;
    }
    lc_free(from);
    lc_free(to);
  }
  rmdir(work);
  lc_free(work);
  return rc;
}

/* ---- one job ---- */

static int run(struct lc_cli *cli, const struct lc_cli_args *args, const struct job *job) {
  const struct language *language = find_language(job->language);
  if (!language) return lc_cli_fail(cli, "`%s` is not a language that bindings are made for: typescript, rust", job->language);
  const char *dir = job->out_dir ? job->out_dir : language->out_dir;
  struct source source = {0};
  struct lc_codegen_output out = {0};
  struct lc_error err = {0};
  const struct lc_codegen_options options = {.include_private = job->include_private, .cli_version = LC_CLI_VERSION};
  int rc = load(cli, args, job, &source);
  if (rc == 0 && lc_codegen(language->language, source.def, &options, &out, &err) != LC_OK) rc = lc_cli_fail(cli, "%s", err.text);
  source_free(&source);
  if (rc == 0 && out.skipped_private_tables) printf("Skipping private tables during codegen: %s\n", out.skipped_private_tables);
  if (rc == 0 && !make_dirs(dir, true)) rc = lc_cli_fail(cli, "cannot make the folder %s: %s", dir, strerror(errno));
  if (rc == 0) rc = write_output(cli, &out, language->language == LC_CODEGEN_RUST, dir);
  if (rc == 0) remove_stale(args, &out, dir);
  if (rc == 0) puts("Generate finished successfully.");
  lc_codegen_output_free(&out);
  return rc;
}

static void job_free(struct job *job) {
  char *const texts[] = {job->language, job->out_dir, job->module_dir, job->wasm_path, job->js_path, job->build_options, job->database};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) lc_free(texts[i]);
}

/* A value of the command line, else of an entry of `generate`, else of the target. */
static char *settle(const struct lc_cli_args *args, const struct lc_cli_project *p, unsigned target, unsigned entry, const char *option, const char *key, bool is_path) {
  const char *given = lc_cli_value(args, option);
  if (given) return lc_cli_copy(given);
  char *text = lc_cli_project_entry(p, target, entry, key, is_path);
  if (text) return text;
  return is_path ? lc_cli_project_path(p, target, key) : lc_cli_copy(lc_cli_project_text(p, target, key));
}

static void prepare(const struct lc_cli_args *args, const struct lc_cli_project *p, unsigned target, unsigned entry, struct job *job) {
  struct stat st;
  const char *language = lc_cli_value(args, "lang");
  bool given = lc_cli_has(args, "module-path") || lc_cli_has(args, "bin-path") || lc_cli_has(args, "js-path") || lc_cli_has(args, "module-def");
  *job = (struct job){.include_private = lc_cli_has(args, "include-private") || lc_cli_project_entry_bool(p, target, entry, "include-private")};
  job->language = language ? lc_cli_copy(language) : lc_cli_project_entry(p, target, entry, "language", false);
  job->out_dir = lc_cli_has(args, "out-dir") ? lc_cli_copy(lc_cli_value(args, "out-dir")) : lc_cli_project_entry(p, target, entry, "out-dir", true);
  job->build_options = settle(args, p, target, entry, "build-options", "build-options", false);
  job->wasm_path = given ? lc_cli_copy(lc_cli_value(args, "bin-path")) : settle(args, p, target, entry, "bin-path", "wasm-file", true);
  if (!job->wasm_path) job->js_path = given ? lc_cli_copy(lc_cli_value(args, "js-path")) : settle(args, p, target, entry, "js-path", "js-file", true);
  job->module_dir = given ? lc_cli_copy(lc_cli_value(args, "module-path")) : settle(args, p, target, entry, "module-path", "module-path", true);
  if (!job->module_dir) job->module_dir = lc_cli_copy(stat("spacetimedb", &st) == 0 && S_ISDIR(st.st_mode) ? "./spacetimedb" : ".");
}

static int check_usage(struct lc_cli *cli, const struct lc_cli_args *args) {
  static const char *const sources[] = {"module-path", "bin-path", "js-path", "module-def"};
  for (int i = 0; i < 4; i++)
    for (int k = i + 1; k < 4; k++)
      if (lc_cli_has(args, sources[i]) && lc_cli_has(args, sources[k])) return lc_cli_usage_error(cli, "the argument '--%s' cannot be used with '--%s'", sources[i], sources[k]);
  const char *language = lc_cli_value(args, "lang");
  if (language && !find_language(language)) return lc_cli_usage_error(cli, "invalid value '%s' for '--lang <LANG>'\n  [possible values: typescript, rust]", language);
  return 0;
}

int lc_cli_cmd_generate(struct lc_cli *cli, const struct lc_cli_args *args) {
  const char *name = args->n ? args->positional[0] : NULL;
  bool given = lc_cli_has(args, "module-path") || lc_cli_has(args, "bin-path") || lc_cli_has(args, "js-path") || lc_cli_has(args, "module-def");
  int rc = check_usage(cli, args);
  if (rc != 0) return rc;
  struct lc_cli_project *p = NULL;
  struct job job;
  if (!lc_cli_has(args, "no-config")) {
    p = lc_cli_project_load(cli, lc_cli_value(args, "env"));
    if (!p && cli->error.len) return 1;
  }
  unsigned done = 0, first = UINT32_MAX;
  for (unsigned t = 0; t < lc_cli_project_targets(p) && rc == 0; t++) {
    const char *database = lc_cli_project_text(p, t, "database");
    if (name && (!database || !lc_cli_glob(name, database))) continue;
    if (first == UINT32_MAX) first = t;
    for (unsigned e = 0; !lc_cli_has(args, "lang") && e < lc_cli_project_entries(p, t) && rc == 0; e++, done++) {
      prepare(args, p, t, e, &job);
      rc = job.language ? run(cli, args, &job) : lc_cli_fail(cli, "an entry of `generate` in spacetime.json names no language");
      job_free(&job);
    }
  }
  if (rc == 0 && done == 0 && !lc_cli_has(args, "lang")) {
    rc = lc_cli_usage_error(cli, "No `generate` configuration found in spacetime.json; tell the language with --lang");
  } else if (rc == 0 && done == 0) {
    prepare(args, first == UINT32_MAX ? NULL : p, first, UINT32_MAX, &job);
    if (name && first == UINT32_MAX && !given) job.database = lc_cli_copy(name); /* no project of that name: a running database */
    rc = run(cli, args, &job);
    job_free(&job);
  }
  lc_cli_project_free(p);
  return rc;
}
