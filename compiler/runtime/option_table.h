/* A table of command-line options, and the parser that fills a struct by it. */
#ifndef MNV3C_OPTION_TABLE_H
#define MNV3C_OPTION_TABLE_H

#include <stddef.h>

/* A flag and a number are stored as int, a text as const char*. */
typedef enum { OPTION_FLAG, OPTION_NUMBER, OPTION_TEXT } OptionType;

typedef struct {
    const char* name;
    size_t offset; /* of the field in the struct that is filled */
    OptionType type;
    long least, most;
    const char* help;
} Option;

typedef struct {
    const Option* options;
    int count;
    const char* closing; /* the last line of --help */
} OptionTable;

/* Fills `values`, "--name value" or "--name=value". Ends the program with 0 after --help, and with EXIT_USAGE and one
 * line on stderr for anything wrong. */
void option_table_parse(const OptionTable* table, int count, char** arguments, void* values);

#endif
