/* `build`: turns a module's project into a program file (spec/04 §8.2).
 *
 * The language is told by the file in the project folder; the language's own build command runs with its output passed through.
 * Rust: the product is the first file of the last artifact that cargo names. Callers: the table of cli.c, publish.c.
 */
#include "build.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

int lc_cli_spawn(const char *dir, char *const *argv, struct lc_buf *output) {
  int pipe_fds[2] = {-1, -1}, status;
  pid_t pid;
  posix_spawn_file_actions_t actions;
  if (output && pipe2(pipe_fds, O_CLOEXEC) != 0) return -1;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addchdir_np(&actions, dir);
  if (output) posix_spawn_file_actions_adddup2(&actions, pipe_fds[1], STDOUT_FILENO);
  fflush(stdout);
  int rc = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
  posix_spawn_file_actions_destroy(&actions);
  if (output) close(pipe_fds[1]);
  while (output && rc == 0) {
    uint8_t chunk[16384];
    ssize_t n = read(pipe_fds[0], chunk, sizeof chunk);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    if (output->len < LC_CLI_FILE_MAX_BYTES) lc_buf_append(output, chunk, (size_t)n);
  }
  if (output) close(pipe_fds[0]);
  if (rc != 0) return -1;
  while (waitpid(pid, &status, 0) < 0)
    if (errno != EINTR) return -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static bool exists(const char *dir, const char *name) {
  char *path = lc_cli_format("%s/%s", dir, name);
  bool yes = access(path, F_OK) == 0;
  lc_free(path);
  return yes;
}

/* The newest file in `dir` whose name ends with `suffix`, or NULL. */
static char *newest(const char *dir, const char *suffix) {
  DIR *d = opendir(dir);
  char *best = NULL;
  time_t when = 0;
  struct dirent *e;
  while (d && (e = readdir(d))) {
    size_t n = strlen(e->d_name), k = strlen(suffix);
    struct stat st;
    if (n < k || strcmp(e->d_name + n - k, suffix) != 0) continue;
    char *path = lc_cli_format("%s/%s", dir, e->d_name);
    if (stat(path, &st) == 0 && (!best || st.st_mtime > when)) {
      lc_free(best);
      best = path;
      when = st.st_mtime;
    } else {
      lc_free(path);
    }
  }
  if (d) closedir(d);
  return best;
}

char *lc_cli_add_words(const char *options, char **argv, int *n) {
  char *copy = lc_cli_copy(options ? options : ""), *save = NULL;
  for (char *w = strtok_r(copy, " \t", &save); w && *n < LC_CLI_SPAWN_MAX_ARGUMENTS - 1; w = strtok_r(NULL, " \t", &save)) argv[(*n)++] = w;
  argv[*n] = NULL;
  return copy;
}

static char *last_artifact(struct lc_buf *output) {
  char *best = NULL;
  size_t start = 0;
  for (size_t i = 0; i < output->len; i++) {
    if (output->data[i] != '\n') continue;
    json_t *line = json_loadb((const char *)output->data + start, i - start, 0, NULL);
    const char *reason = json_string_value(json_object_get(line, "reason")), *file = json_string_value(json_array_get(json_object_get(line, "filenames"), 0));
    if (reason && file && strcmp(reason, "compiler-artifact") == 0) {
      lc_free(best);
      best = lc_cli_copy(file);
    }
    json_decref(line);
    start = i + 1;
  }
  return best;
}

static bool file_holds(struct lc_cli *cli, const char *path, const char *needle) {
  struct lc_buf bytes = {0};
  bool found = lc_cli_read_file(cli, path, &bytes) && memmem(bytes.data, bytes.len, needle, strlen(needle));
  lc_buf_clear(&cli->error);
  lc_buf_free(&bytes);
  return found;
}

/* Adds the WebAssembly target where rustup manages the compiler and it is missing. */
static void add_rust_target(const char *dir) {
  static char rustup[] = "rustup", target[] = "target", list[] = "list", installed[] = "--installed", add[] = "add", name[] = "wasm32-unknown-unknown";
  char *ask[] = {rustup, target, list, installed, NULL}, *install[] = {rustup, target, add, name, NULL};
  struct lc_buf output = {0};
  if (lc_cli_spawn(dir, ask, &output) == 0 && !(output.len && memmem(output.data, output.len, name, sizeof name - 1))) lc_cli_spawn(dir, install, NULL); /* cargo reports a failure better */
  lc_buf_free(&output);
}

static int build_rust(struct lc_cli *cli, const char *dir, const char *options, bool debug, char **path) {
  static char cargo[] = "cargo", verb[] = "build", config[] = "--config=net.git-fetch-with-cli=true", target[] = "--target=wasm32-unknown-unknown", format[] = "--message-format=json-render-diagnostics", release[] = "--release";
  char *argv[LC_CLI_SPAWN_MAX_ARGUMENTS] = {cargo, verb, config, target, format};
  int n = 5;
  struct lc_buf output = {0};
  if (!debug) argv[n++] = release;
  add_rust_target(dir);
  char *words = lc_cli_add_words(options, argv, &n);
  int code = lc_cli_spawn(dir, argv, &output);
  *path = code == 0 ? last_artifact(&output) : NULL;
  lc_buf_free(&output);
  lc_free(words);
  if (code < 0) return lc_cli_fail(cli, "could not run cargo: is Rust installed?");
  if (code > 0) return lc_cli_fail(cli, "command [\"cargo\", \"build\", \"--config=net.git-fetch-with-cli=true\", \"--target=wasm32-unknown-unknown\"%s] exited with code %d", debug ? "" : ", \"--release\"", code);
  if (!*path) return lc_cli_fail(cli, "cargo named no product");
  if (file_holds(cli, *path, "__wbindgen")) return lc_cli_fail(cli, "wasm-bindgen detected.\n\nA module cannot use wasm-bindgen; a dependency brings it in, most often with a feature for browsers. `cargo tree` shows which.");
  if (file_holds(cli, *path, "__getrandom_custom")) return lc_cli_fail(cli, "getrandom usage detected.\n\nA module takes random numbers from its context (`ctx.rng()`), not from the operating system.");
  return 0;
}

static int build_csharp(struct lc_cli *cli, const char *dir, const char *options, char **path) {
  static char dotnet[] = "dotnet", verb[] = "publish", c[] = "-c", release[] = "Release", v[] = "-v", quiet[] = "quiet";
  static const char *const places[] = {"bin/Release/net10.0/wasi-wasm/AppBundle", "bin/Release/net8.0/wasi-wasm/AppBundle", "bin/Release/net10.0/wasi-wasm/native", "bin/Release/net8.0/wasi-wasm/native"};
  char *argv[LC_CLI_SPAWN_MAX_ARGUMENTS] = {dotnet, verb, c, release, v, quiet};
  int n = 6;
  char *words = lc_cli_add_words(options, argv, &n);
  int code = lc_cli_spawn(dir, argv, NULL);
  lc_free(words);
  if (code < 0) return lc_cli_fail(cli, "could not run dotnet: is the .NET SDK installed?");
  if (code > 0) return lc_cli_fail(cli, "command [\"dotnet\", \"publish\"] exited with code %d", code);
  for (size_t i = 0; i < sizeof places / sizeof *places && !*path; i++) {
    char *place = lc_cli_format("%s/%s", dir, places[i]);
    *path = newest(place, "StdbModule.wasm");
    lc_free(place);
  }
  return *path ? 0 : lc_cli_fail(cli, "dotnet made no StdbModule.wasm");
}

static int build_cpp(struct lc_cli *cli, const char *dir, const char *options, char **path) {
  static char emcmake[] = "emcmake", cmake[] = "cmake", s[] = "-S", dot[] = ".", b[] = "-B", build[] = "build", type[] = "-DCMAKE_BUILD_TYPE=Release", do_build[] = "--build", config[] = "--config", release[] = "Release", parallel[] = "--parallel";
  char *configure[LC_CLI_SPAWN_MAX_ARGUMENTS] = {emcmake, cmake, s, dot, b, build, type};
  char *make[] = {cmake, do_build, build, config, release, parallel, NULL};
  int n = 7;
  char *words = lc_cli_add_words(options, configure, &n);
  int code = lc_cli_spawn(dir, configure, NULL);
  if (code == 0) code = lc_cli_spawn(dir, make, NULL);
  lc_free(words);
  if (code < 0) return lc_cli_fail(cli, "could not run emcmake: is Emscripten installed?");
  if (code > 0) return lc_cli_fail(cli, "the CMake build exited with code %d", code);
  char *place = lc_cli_format("%s/build", dir);
  *path = newest(place, ".wasm");
  lc_free(place);
  return *path ? 0 : lc_cli_fail(cli, "the CMake build made no .wasm file");
}

/* Replaces *path by an optimised copy if wasm-opt is there. */
static void optimise(char **path) {
  static char tool[] = "wasm-opt", all[] = "-all", g[] = "-g", o2[] = "-O2", o[] = "-o";
  size_t n = strlen(*path);
  if (n < 5 || strcmp(*path + n - 5, ".wasm") != 0) return;
  char *out = lc_cli_format("%.*s.opt.wasm", (int)(n - 5), *path);
  char *argv[] = {tool, all, g, o2, *path, o, out, NULL};
  int code = lc_cli_spawn(".", argv, NULL);
  if (code == 0) {
    lc_free(*path);
    *path = out;
    return;
  }
  fputs(code < 0 || code == 127 ? "Could not find wasm-opt to optimise the module.\nThe unoptimised module is used; it works, but is larger and slower.\n" : "wasm-opt failed; the unoptimised module is used.\n", stderr);
  lc_free(out);
}

int lc_cli_build(struct lc_cli *cli, const char *dir, const char *options, bool debug, char **path, bool *js) {
  *path = NULL;
  *js = false;
  int rc;
  char *csproj;
  if (access(dir, F_OK) != 0) return lc_cli_fail(cli, "project path %s does not exist.", dir);
  if (exists(dir, "Cargo.toml")) rc = build_rust(cli, dir, options, debug, path);
  else if ((csproj = newest(dir, ".csproj"))) {
    lc_free(csproj);
    rc = build_csharp(cli, dir, options, path);
  } else if (exists(dir, "CMakeLists.txt")) rc = build_cpp(cli, dir, options, path);
  else if (exists(dir, "package.json")) {
    rc = lc_cli_build_typescript(cli, dir, options, path);
    *js = true;
  }
  else return lc_cli_fail(cli, "Could not find a module in %s: no Cargo.toml, *.csproj, package.json or CMakeLists.txt", dir);
  if (rc == 0 && !debug) optimise(path);
  if (rc != 0) {
    lc_free(*path);
    *path = NULL;
    return rc;
  }
  puts("Build finished successfully.");
  return 0;
}

int lc_cli_cmd_build(struct lc_cli *cli, const struct lc_cli_args *args) {
  const char *dir = lc_cli_value(args, "module-path");
  struct stat st;
  char *path;
  bool js;
  if (!dir) dir = stat("spacetimedb", &st) == 0 && S_ISDIR(st.st_mode) ? "spacetimedb" : ".";
  int rc = lc_cli_build(cli, dir, lc_cli_value(args, "build-options"), lc_cli_has(args, "debug"), &path, &js);
  lc_free(path);
  return rc;
}
