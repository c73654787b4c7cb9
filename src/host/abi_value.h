/* A number that crosses the border between a module and the server, for the C and the C++ side. */
#ifndef LC_HOST_ABI_VALUE_H
#define LC_HOST_ABI_VALUE_H
#include <stdint.h>

/* In 16 bytes as Wasmtime hands it over; of an i32 only the low half is defined. */
union abi_value { uint32_t u32; int32_t i32; uint64_t u64; int64_t i64; uint8_t bytes[16]; };

#endif
