/* spacetime.json: found upward from the current folder, layered, flattened to targets (spec/04 §8.1; `env` of spec/07 §15.1).
 *
 * JSON with comments and trailing commas. Later layers replace top-level keys, `children` merge by position and `env` by key. A target is
 * the root or a child with what it inherits. Callers: session.c, publish.c.
 */
#include "cli_internal.h"
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

enum { MAX_TARGETS = 256, MAX_LAYERS = 4, MAX_NESTING = 8 };
struct lc_cli_project {
  char *dir;
  unsigned n_layers, n;
  char *layers[MAX_LAYERS];
  json_t *targets[MAX_TARGETS];
};

/* Comments become blanks and commas before a closing bracket vanish; the length stays. */
static void relax(char *text, size_t n) {
  size_t comma = SIZE_MAX;
  for (size_t i = 0; i < n; i++) {
    if (text[i] == '"') {
      for (i++; i < n && text[i] != '"'; i++) i += text[i] == '\\';
      comma = SIZE_MAX;
    } else if (text[i] == '/' && i + 1 < n && text[i + 1] == '/') {
      while (i < n && text[i] != '\n') text[i++] = ' ';
    } else if (text[i] == '/' && i + 1 < n && text[i + 1] == '*') {
      while (i < n && !(text[i] == '*' && i + 1 < n && text[i + 1] == '/')) text[i++] = ' ';
      if (i + 1 < n) text[i] = text[i + 1] = ' ';
      i++;
    } else if (text[i] == ',') {
      comma = i;
    } else if (text[i] == ']' || text[i] == '}') {
      if (comma != SIZE_MAX) text[comma] = ' ';
      comma = SIZE_MAX;
    } else if (!strchr(" \t\r\n", text[i])) {
      comma = SIZE_MAX;
    }
  }
}

static void merge(json_t *into, json_t *layer) {
  const char *key;
  json_t *value;
  json_object_foreach(layer, key, value) {
    json_t *old = json_object_get(into, key);
    if (strcmp(key, "children") == 0 && json_is_array(old) && json_is_array(value)) {
      for (size_t i = 0; i < json_array_size(value); i++) {
        json_t *child = json_array_get(old, i), *more = json_array_get(value, i);
        if (json_is_object(child) && json_is_object(more)) merge(child, more);
        else json_array_append(old, more);
      }
    } else if (strcmp(key, "env") == 0 && json_is_object(old) && json_is_object(value)) {
      json_object_update(old, value);
    } else {
      json_object_set(into, key, value);
    }
  }
}

static void flatten(struct lc_cli_project *p, json_t *node, json_t *parent, unsigned depth) {
  if (!json_is_object(node) || depth > MAX_NESTING) return;
  json_t *target = json_copy(node), *value;
  const char *key;
  bool own_source = json_object_get(node, "module-path") || json_object_get(node, "wasm-file") || json_object_get(node, "bin-path") || json_object_get(node, "js-file") || json_object_get(node, "js-path");
  json_object_foreach(parent, key, value) {
    bool source = strcmp(key, "module-path") == 0 || strcmp(key, "wasm-file") == 0 || strcmp(key, "bin-path") == 0 || strcmp(key, "js-file") == 0 || strcmp(key, "js-path") == 0;
    if (strcmp(key, "generate") == 0 || strcmp(key, "children") == 0 || (source && own_source) || json_object_get(target, key)) continue;
    json_object_set(target, key, value);
  }
  json_t *children = json_object_get(node, "children");
  if (p->n < MAX_TARGETS && (json_object_get(node, "database") || (!parent && json_array_size(children) == 0))) p->targets[p->n++] = json_incref(target);
  for (size_t i = 0; i < json_array_size(children); i++) flatten(p, json_array_get(children, i), target, depth + 1);
  json_decref(target);
}

/* True if a layer exists and was merged; false with the error set if it is damaged. */
static bool add_layer(struct lc_cli *cli, struct lc_cli_project *p, json_t *root, const char *name) {
  char *path = lc_cli_format("%s/%s", p->dir, name);
  struct lc_buf text = {0};
  json_error_t why;
  if (access(path, R_OK) != 0 || !lc_cli_read_file(cli, path, &text)) {
    lc_free(path);
    return cli->error.len == 0;
  }
  relax((char *)text.data, text.len);
  json_t *layer = json_loadb(text.len ? (const char *)text.data : "", text.len, 0, &why);
  lc_buf_free(&text);
  if (!json_is_object(layer)) {
    lc_cli_fail(cli, "Failed to load spacetime.json");
    lc_cli_cause(cli, "%s: %s", path, layer ? "not an object" : why.text);
    json_decref(layer);
    lc_free(path);
    return false;
  }
  merge(root, layer);
  json_decref(layer);
  p->layers[p->n_layers++] = path;
  return true;
}

struct lc_cli_project *lc_cli_project_load(struct lc_cli *cli, const char *env) {
  char dir[PATH_MAX], probe[PATH_MAX + 32];
  if (!getcwd(dir, sizeof dir)) return NULL;
  for (;;) {
    snprintf(probe, sizeof probe, "%s/spacetime.json", dir);
    if (access(probe, R_OK) == 0) break;
    char *slash = strrchr(dir, '/');
    if (!slash || slash == dir) return NULL;
    *slash = 0;
  }
  struct lc_cli_project *p = lc_alloc_zero(1, sizeof *p);
  if (!p) lc_cli_out_of_memory();
  p->dir = lc_cli_copy(dir);
  json_t *root = json_object();
  bool ok = add_layer(cli, p, root, "spacetime.json") && add_layer(cli, p, root, "spacetime.local.json");
  if (ok && env) {
    char *layer = lc_cli_format("spacetime.%s.json", env), *local = lc_cli_format("spacetime.%s.local.json", env);
    ok = add_layer(cli, p, root, layer) && add_layer(cli, p, root, local);
    lc_free(layer);
    lc_free(local);
  }
  if (ok) flatten(p, root, NULL, 0);
  json_decref(root);
  if (ok) return p;
  lc_cli_project_free(p);
  return NULL;
}

void lc_cli_project_free(struct lc_cli_project *p) {
  if (!p) return;
  for (unsigned i = 0; i < p->n; i++) json_decref(p->targets[i]);
  for (unsigned i = 0; i < p->n_layers; i++) lc_free(p->layers[i]);
  lc_free(p->dir);
  lc_free(p);
}

unsigned lc_cli_project_targets(const struct lc_cli_project *p) { return p ? p->n : 0; }

const char *lc_cli_project_text(const struct lc_cli_project *p, unsigned target, const char *key) {
  return p && target < p->n ? json_string_value(json_object_get(p->targets[target], key)) : NULL;
}

bool lc_cli_project_bool(const struct lc_cli_project *p, unsigned target, const char *key) {
  return p && target < p->n && json_is_true(json_object_get(p->targets[target], key));
}

char *lc_cli_project_path(const struct lc_cli_project *p, unsigned target, const char *key) {
  const char *path = lc_cli_project_text(p, target, key);
  if (!path) return NULL;
  return *path == '/' ? lc_cli_copy(path) : lc_cli_format("%s/%s", p->dir, path);
}

unsigned lc_cli_project_env(const struct lc_cli_project *p, unsigned target, unsigned i, const char **key, char **value) {
  json_t *env = p && target < p->n ? json_object_get(p->targets[target], "env") : NULL, *v;
  *value = NULL;
  json_object_foreach(env, *key, v) {
    if (i-- > 0) continue;
    if (json_is_string(v)) *value = lc_cli_copy(json_string_value(v));
    else if (json_is_boolean(v)) *value = lc_cli_copy(json_is_true(v) ? "true" : "false");
    else if (json_is_integer(v)) *value = lc_cli_format("%lld", (long long)json_integer_value(v));
    else if (json_is_real(v)) *value = lc_cli_format("%.17g", json_real_value(v));
    else return 2;
    return 1;
  }
  return 0;
}

static json_t *entry_of(const struct lc_cli_project *p, unsigned target, unsigned entry) {
  return p && target < p->n ? json_array_get(json_object_get(p->targets[target], "generate"), entry) : NULL;
}

unsigned lc_cli_project_entries(const struct lc_cli_project *p, unsigned target) {
  return p && target < p->n ? (unsigned)json_array_size(json_object_get(p->targets[target], "generate")) : 0;
}

char *lc_cli_project_entry(const struct lc_cli_project *p, unsigned target, unsigned entry, const char *key, bool is_path) {
  const char *text = json_string_value(json_object_get(entry_of(p, target, entry), key));
  return text && is_path && *text != '/' ? lc_cli_format("%s/%s", p->dir, text) : lc_cli_copy(text);
}

bool lc_cli_project_entry_bool(const struct lc_cli_project *p, unsigned target, unsigned entry, const char *key) {
  return json_is_true(json_object_get(entry_of(p, target, entry), key));
}

int lc_cli_project_dev(struct lc_cli *cli, const struct lc_cli_project *p, unsigned target, char **run) {
  const json_t *dev = p && target < p->n ? json_object_get(p->targets[target], "dev") : NULL;
  const char *key;
  json_t *value;
  *run = NULL;
  json_object_foreach((json_t *)(uintptr_t)dev, key, value) {
    if (strcmp(key, "run") != 0) {
      lc_cli_fail(cli, "Failed to load spacetime.json");
      return lc_cli_cause(cli, "unknown field `%s`, expected `run`", key);
    }
    *run = lc_cli_copy(json_string_value(value));
  }
  return 0;
}

void lc_cli_project_announce(const struct lc_cli_project *p) {
  for (unsigned i = 0; p && i < p->n_layers; i++) printf("Using configuration from %s\n", p->layers[i]);
}

bool lc_cli_glob(const char *pattern, const char *text) {
  for (; *pattern; pattern++, text++) {
    if (*pattern == '*') {
      for (const char *t = text;; t++) {
        if (lc_cli_glob(pattern + 1, t)) return true;
        if (!*t) return false;
      }
    }
    if (*pattern != *text) return false;
  }
  return *text == 0;
}
