/* Pieces of what a bench prints: numbers, texts, the rows of times. */
#ifndef MNV3C_REPORT_PARTS_H
#define MNV3C_REPORT_PARTS_H

#include <stdint.h>

#include "bench_report.h"

typedef struct {
    double median, p10, p90;
} Spread;

/* Sorts `samples`, nanoseconds, and divides what it finds by `unit_ns`. */
Spread report_spread(uint64_t* samples, int count, double unit_ns);

/* `"name": "text", ` */
void report_json_text(const char* name, const char* text);

/* `"name": number`; null for what JSON has not, NaN and infinities. */
void report_json_number(const char* name, double number);

/* `"runs": ..., "layers": [...]}`, or the lines that say the same. `more` adds to a layer's row, JSON `, "key": value`
 * or text; NULL adds nothing. Sorts the samples. */
void report_samples_json(Samples samples, void (*more)(int layer));
void report_samples_text(Samples samples, void (*more)(int layer));

#endif
