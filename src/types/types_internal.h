/* What the files of this folder share below module definitions: Unicode, names, texts of numbers. */
#ifndef LC_TYPES_INTERNAL_H
#define LC_TYPES_INTERNAL_H
#include "types.h"

/* ---- unicode.c; text is valid UTF-8 ---- */

uint32_t types_utf8_next(const uint8_t **p);
void types_utf8_put(struct lc_buf *out, uint32_t c);
bool types_is_xid_start(uint32_t c);
bool types_is_xid_continue(uint32_t c);
bool types_extends_grapheme(uint32_t c);              /* belongs to the character before it */
unsigned types_to_lower(uint32_t c, uint32_t out[3]); /* how many characters it becomes */
unsigned types_to_upper(uint32_t c, uint32_t out[3]);
enum lc_status types_is_nfc(struct lc_slice text, bool *result); /* LC_NOMEM */

/* ---- names.c ---- */

/* *fault: NULL, or which rule of spec/01 §10.1 the text breaks. LC_NOMEM. */
enum lc_status types_identifier_fault(struct lc_slice text, const char **fault);

/* A set of names with a number each; slots live in the arena, names are borrowed. Zeroed: empty. */
struct types_name_slot { struct lc_slice name; uint64_t hash; uint32_t value; bool used; };
struct types_names { struct types_name_slot *slots; uint32_t n, cap; };
int types_names_add(struct lc_arena *arena, struct types_names *m, struct lc_slice name, uint32_t value); /* 1 added, 0 was there, -1 no memory */
bool types_names_find(const struct lc_arena *arena, const struct types_names *m, struct lc_slice name, uint32_t *value); /* value may be NULL */

/* ---- values: how much work one may be, by its bytes (bsatn.c says why) ---- */

#define LC_VALUE_FREE_STEPS ((uint64_t)1 << 20)
#define LC_VALUE_STEPS_PER_BYTE 64u

/* ---- json_write.c ---- */

void types_write_i128(struct lc_buf *out, const uint8_t le[16], bool is_signed); /* decimal */
void types_write_u256(struct lc_buf *out, const uint8_t le[32], bool is_signed); /* "0x…" with its quotes */

#endif
