/* `dev`: builds, publishes and generates again whenever the module's sources change, shows the database's log and keeps the client running
 * (spec/04 §8.4).
 *
 * The steps are runs of this program itself, so that they ask and say what they do when typed. A step that fails leaves the database as it is; the
 * next change tries again. Children in the background get a process group each and end with the command. Callers: the table of cli.c.
 */
#include "build.h"
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

enum { LOOK_MS = 100, QUIET_MS = 300, MAX_FOLDERS = 32, END_MS = 3000 };

struct dev {
  struct lc_cli *cli;
  const struct lc_cli_args *args;
  char *program, *database, *module_dir, *server_url, *run;
  const char *env;
  bool generates; /* spacetime.json says what */
  pid_t logs, client;
};

static volatile sig_atomic_t ended;
static void on_signal(int sig) { ended = sig; }

/* ---- the sources ---- */

static void mix(uint64_t *sum, const void *data, size_t n) {
  for (const uint8_t *p = data; n--; p++) *sum = (*sum ^ *p) * 1099511628211u;
}

/* Names, sizes and times of all files below `dir`, in one number; not of what builds make. */
static void look(const char *dir, uint64_t *sum, unsigned depth) {
  static const char *const skipped[] = {".git", "target", "build", "bin", "obj", "node_modules", "dist", ".next", "Cargo.lock", "package-lock.json", ".", ".."};
  DIR *d = depth < MAX_FOLDERS ? opendir(dir) : NULL;
  struct dirent *e;
  uint64_t all = 0; /* the order of a folder's entries does not count */
  while (d && (e = readdir(d))) {
    bool skip = false;
    for (size_t i = 0; i < sizeof skipped / sizeof *skipped; i++) skip |= strcmp(e->d_name, skipped[i]) == 0;
    if (skip) continue;
    char *path = lc_cli_format("%s/%s", dir, e->d_name);
    struct stat st;
    if (lstat(path, &st) == 0) {
      uint64_t one = 14695981039346656037u;
      mix(&one, path, strlen(path));
      if (S_ISDIR(st.st_mode)) {
        look(path, &one, depth + 1);
      } else {
        mix(&one, &st.st_size, sizeof st.st_size);
        mix(&one, &st.st_mtim, sizeof st.st_mtim);
      }
      all += one;
    }
    lc_free(path);
  }
  if (d) closedir(d);
  mix(sum, &all, sizeof all);
}

static uint64_t fingerprint(const struct dev *dev) {
  uint64_t sum = 14695981039346656037u;
  look(dev->module_dir, &sum, 0);
  return sum;
}

static void wait_ms(int ms) { poll(NULL, 0, ms); }

/* Returns when the sources differ from `was` and have been quiet, or the user ends the command. */
static void wait_for_change(struct dev *dev, uint64_t was) {
  uint64_t now = was;
  while (!ended && (now = fingerprint(dev)) == was) {
    int status;
    if (dev->client && waitpid(dev->client, &status, WNOHANG) == dev->client) {
      dev->client = 0;
      printf("The client's command ended%s; the next change starts it again.\n", WIFEXITED(status) && WEXITSTATUS(status) == 0 ? "" : " with an error");
      fflush(stdout);
    }
    wait_ms(LOOK_MS);
  }
  for (uint64_t next; !ended; now = next) {
    wait_ms(QUIET_MS);
    if ((next = fingerprint(dev)) == now) return;
  }
}

/* ---- steps ---- */

static int add(char **argv, int n, const char *text) {
  lc_assert(n < LC_CLI_SPAWN_MAX_ARGUMENTS - 1);
  argv[n] = (char *)text;
  argv[n + 1] = NULL;
  return n + 1;
}

static int begin(const struct dev *dev, char **argv, const char *command) {
  int n = add(argv, 0, dev->program);
  if (dev->cli->root_dir) n = add(argv, add(argv, n, "--root-dir"), dev->cli->root_dir);
  return add(argv, n, command);
}

static int publish(const struct dev *dev) {
  char *argv[LC_CLI_SPAWN_MAX_ARGUMENTS];
  const char *clear = lc_cli_value(dev->args, "delete-data");
  char *mode = lc_cli_format("--delete-data=%s", clear ? clear : lc_cli_has(dev->args, "delete-data") ? "always" : "on-conflict");
  int n = begin(dev, argv, "publish");
  n = add(argv, n, dev->database);
  if (lc_cli_has(dev->args, "module-path")) n = add(argv, add(argv, n, "--module-path"), dev->module_dir);
  n = add(argv, add(argv, n, "--server"), dev->server_url);
  n = add(argv, n, mode);
  if (lc_cli_has(dev->args, "yes")) n = add(argv, n, "--yes");
  if (lc_cli_has(dev->args, "no-config")) n = add(argv, n, "--no-config");
  else n = add(argv, add(argv, n, "--env"), dev->env);
  int rc = lc_cli_spawn(".", argv, NULL);
  lc_free(mode);
  return rc;
}

static int generate(const struct dev *dev) {
  char *argv[LC_CLI_SPAWN_MAX_ARGUMENTS];
  const char *language = lc_cli_value(dev->args, "client-lang"), *out_dir = lc_cli_value(dev->args, "module-bindings-path");
  if (!dev->generates && !language) return 0;
  int n = begin(dev, argv, "generate");
  if (language) {
    n = add(argv, add(argv, n, "--lang"), language);
    if (out_dir) n = add(argv, add(argv, n, "--out-dir"), out_dir);
    n = add(argv, add(argv, n, "--module-path"), dev->module_dir);
  }
  n = add(argv, n, "--yes");
  if (lc_cli_has(dev->args, "no-config")) n = add(argv, n, "--no-config");
  else n = add(argv, add(argv, n, "--env"), dev->env);
  return lc_cli_spawn(".", argv, NULL);
}

/* ---- what runs beside ---- */

static pid_t start(char *const *argv) {
  pid_t pid = 0;
  posix_spawnattr_t attr;
  posix_spawnattr_init(&attr);
  posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP);
  posix_spawnattr_setpgroup(&attr, 0);
  if (posix_spawnp(&pid, argv[0], NULL, &attr, argv, environ) != 0) pid = 0;
  posix_spawnattr_destroy(&attr);
  return pid;
}

static void stop(pid_t pid) {
  int status;
  if (!pid) return;
  kill(-pid, SIGTERM);
  for (int waited = 0; waitpid(pid, &status, WNOHANG) == 0; waited += LOOK_MS) {
    if (waited >= END_MS) kill(-pid, SIGKILL);
    wait_ms(LOOK_MS);
  }
}

static void start_companions(struct dev *dev) {
  char *argv[LC_CLI_SPAWN_MAX_ARGUMENTS];
  if (!dev->logs) {
    int n = begin(dev, argv, "logs");
    n = add(argv, n, dev->database);
    n = add(argv, add(argv, n, "--server"), dev->server_url);
    n = add(argv, n, "--follow");
    n = add(argv, add(argv, n, "--num-lines"), "10");
    n = add(argv, n, "--no-config");
    dev->logs = start(argv);
  }
  if (!dev->client && dev->run && !lc_cli_has(dev->args, "server-only")) {
    char *const shell[] = {(char *)"/bin/sh", (char *)"-c", dev->run, NULL};
    printf("Starting the client: %s\n", dev->run);
    fflush(stdout);
    dev->client = start(shell);
  }
}

/* ---- the command ---- */

static int settle(struct dev *dev, struct lc_cli_project *p) {
  struct lc_cli *cli = dev->cli;
  const struct lc_cli_args *args = dev->args;
  const char *name = args->n ? args->positional[0] : NULL, *server = lc_cli_value(args, "server"), *module = lc_cli_value(args, "module-path"), *run = lc_cli_value(args, "run");
  unsigned target = 0, n = lc_cli_project_targets(p);
  struct stat st;
  while (name && target < n && !(lc_cli_project_text(p, target, "database") && strcmp(lc_cli_project_text(p, target, "database"), name) == 0)) target++;
  if (!name) name = lc_cli_project_text(p, 0, "database");
  if (!name) return lc_cli_fail(cli, "tell the name of the database, or write it into spacetime.local.json");
  int rc = lc_cli_project_dev(cli, p, target, &dev->run);
  if (rc != 0) return rc;
  if (run) {
    lc_free(dev->run);
    dev->run = lc_cli_copy(run);
  }
  dev->database = lc_cli_copy(name);
  dev->module_dir = module ? lc_cli_copy(module) : lc_cli_project_path(p, target, "module-path");
  if (!dev->module_dir) dev->module_dir = lc_cli_copy(stat("spacetimedb", &st) == 0 && S_ISDIR(st.st_mode) ? "./spacetimedb" : ".");
  if (stat(dev->module_dir, &st) != 0 || !S_ISDIR(st.st_mode)) return lc_cli_fail(cli, "there is no module in %s: `lightcone init` makes a project", dev->module_dir);
  dev->server_url = lc_cli_server_url(cli, server ? server : lc_cli_project_text(p, target, "server"));
  dev->generates = lc_cli_project_entries(p, target) > 0;
  return dev->server_url ? 0 : 1;
}

static void follow(struct dev *dev) {
  setenv("SPACETIMEDB_DB_NAME", dev->database, 1);
  setenv("SPACETIMEDB_HOST", dev->server_url, 1);
  while (!ended) {
    uint64_t seen = fingerprint(dev);
    int rc = lc_cli_has(dev->args, "skip-publish") ? 0 : publish(dev);
    if (rc == 0 && !ended && !lc_cli_has(dev->args, "skip-generate")) rc = generate(dev);
    if (rc == 0 && !ended) start_companions(dev);
    if (!ended) printf("%s Watching %s for changes...\n", rc == 0 ? "Ready." : "That failed.", dev->module_dir);
    fflush(stdout);
    wait_for_change(dev, seen);
  }
  stop(dev->client);
  stop(dev->logs);
}

int lc_cli_cmd_dev(struct lc_cli *cli, const struct lc_cli_args *args) {
  const char *dir = lc_cli_value(args, "project-path");
  char exe[4096];
  ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
  if (dir && chdir(dir) != 0) return lc_cli_fail(cli, "project path %s: %s", dir, strerror(errno));
  if (n <= 0) return lc_cli_fail(cli, "cannot find this program: %s", strerror(errno));
  struct dev dev = {.cli = cli, .args = args, .program = lc_strdup_n(exe, (size_t)n), .env = lc_cli_value(args, "env") ? lc_cli_value(args, "env") : "dev"};
  struct lc_cli_project *p = lc_cli_has(args, "no-config") ? NULL : lc_cli_project_load(cli, dev.env);
  int rc = !dev.program ? lc_cli_fail(cli, "out of memory") : cli->error.len ? 1 : settle(&dev, p);
  lc_cli_project_free(p);
  if (rc == 0) {
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    follow(&dev);
  }
  lc_free(dev.program);
  lc_free(dev.database);
  lc_free(dev.module_dir);
  lc_free(dev.server_url);
  lc_free(dev.run);
  return rc;
}
