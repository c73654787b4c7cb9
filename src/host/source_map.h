/* Source maps (version 3): from places in a bundle to those it was made of. An immutable map may be used by any thread. */
#ifndef LC_HOST_SOURCE_MAP_H
#define LC_HOST_SOURCE_MAP_H
#include "../base/base.h"

struct source_map;
/* Where the comment that carries the map inline begins, at the program's end; program.len: there is none. */
size_t source_map_comment(struct lc_slice program);
/* Appends the map of such a comment to out, compressed, which is a tenth of it; nothing if it is none. Out of memory is marked in out. */
void source_map_pack(struct lc_slice comment, struct lc_buf *out);
/* Reads what pack gave. NULL: it is no map, or none that makes sense, or out of memory. Owned by the caller. */
struct source_map *source_map_read(struct lc_slice packed);
void source_map_free(struct source_map *map);
/* line, column: of the bundle, from 1. false: the map does not say. *file is the map's; *out_line, *out_column from 1. */
bool source_map_find(const struct source_map *map, uint32_t line, uint32_t column, struct lc_slice *file, uint32_t *out_line, uint32_t *out_column);

#endif
