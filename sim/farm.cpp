// SPDX-License-Identifier: Apache-2.0
// The farm's memory ports: kernels fetch stimulus from, and put results into, numpy buffers.
//
// Python (in this same process) binds the buffers with hq_bind.  Every clock cycle each kernel
// puts its result, if it has one, and then gets its next row.  The output row of a result is the
// row of the beat that must have caused it `latency` enabled cycles ago, so a result that comes
// early, late, twice or never shows up as a difference in the buffer.

#include <cstdint>
#include <cstring>

namespace {

constexpr int MAX_KERNELS = 4096;
constexpr uint32_t IDLE = 1;  // enabled, nothing valid

struct Port {
  const uint8_t* next;    // next stimulus row
  const uint8_t* end;     // one past the last row
  uint64_t* out;          // results, `words` words for each enabled row
  int64_t rows;           // enabled rows
  int64_t slot;           // output row of a result that is visible now
  uint64_t strays;        // results outside of every row
  uint64_t moved;         // enabled rows in which the last result was no longer there
  int64_t moved_slot;     // the first of them
};

Port ports[MAX_KERNELS];

// Copies one stimulus row (or an idle row) and moves the output slot on if it enables the kernel.
inline void fetch(int kernel, uint32_t* row, uint32_t words) {
  Port& port = ports[kernel];
  if (port.next < port.end) {
    std::memcpy(row, port.next, words * 4);
    port.next += words * 4;
  } else {
    std::memset(row, 0, words * 4);
    row[0] = IDLE;
  }
  port.slot += row[0] & 1;
}

inline uint64_t* place(int kernel, uint32_t words) {
  Port& port = ports[kernel];
  if (port.slot < 0 || port.slot >= port.rows) {
    ++port.strays;
    return nullptr;
  }
  return port.out + port.slot * words;
}

}  // namespace

extern "C" int hq_bind(int kernel, const void* stimulus, int64_t bytes, void* out, int64_t rows,
                       int64_t latency) {
  if (kernel < 0 || kernel >= MAX_KERNELS) return -1;
  const uint8_t* first = static_cast<const uint8_t*>(stimulus);
  ports[kernel] = {first, first + bytes, static_cast<uint64_t*>(out), rows, -latency - 1, 0, 0, 0};
  return 0;
}

extern "C" uint64_t hq_strays(int kernel) { return ports[kernel].strays; }

extern "C" void hq_moved(int kernel) {
  Port& port = ports[kernel];
  if (port.moved++ == 0) port.moved_slot = port.slot;
}

extern "C" uint64_t hq_moves(int kernel) { return ports[kernel].moved; }

extern "C" int64_t hq_moved_slot(int kernel) { return ports[kernel].moved_slot; }

extern "C" int64_t hq_left(int kernel) { return ports[kernel].end - ports[kernel].next; }

#define HQ_GET_INT(NAME, TYPE, WORDS)        \
  extern "C" TYPE NAME(int kernel) {         \
    uint32_t row[WORDS];                     \
    fetch(kernel, row, WORDS);               \
    TYPE value;                              \
    std::memcpy(&value, row, sizeof(value)); \
    return value;                            \
  }

#define HQ_GET(NAME, WORDS) \
  extern "C" void NAME(int kernel, svBitVecVal* row) { fetch(kernel, row, WORDS); }

#define HQ_PUT_INT(NAME)                            \
  extern "C" void NAME(int kernel, long long value) { \
    if (uint64_t* out = place(kernel, 1)) *out = value; \
  }

#define HQ_PUT(NAME, WORDS)                                      \
  extern "C" void NAME(int kernel, const svBitVecVal* value) {   \
    if (uint64_t* out = place(kernel, WORDS)) std::memcpy(out, value, WORDS * 8); \
  }
