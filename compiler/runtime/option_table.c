#include "option_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench_common.h"
#include "engine.h"

static void print_help(const OptionTable* table)
{
    printf("usage: %s-bench [OPTION]...\nRuns the compiled network %s, times it and checks it.\n\n", mnv3c_network.name,
           mnv3c_network.name);
    for (int i = 0; i < table->count; ++i)
        printf("  %s %s\n", table->options[i].name, table->options[i].help);
    printf("  --help   print this\n\n%s\n", table->closing);
}

static int parse_number(const Option* option, const char* text)
{
    char* end = NULL;
    const long number = strtol(text, &end, 10);
    if (end == text || *end != '\0' || number < option->least || number > option->most)
        bench_die(EXIT_USAGE, "%s takes a number from %ld to %ld, not \"%s\"", option->name, option->least, option->most,
                  text);
    return (int)number;
}

/* Finds the option that `argument` names, as "--name" or "--name=value". */
static const Option* find(const OptionTable* table, const char* argument)
{
    const size_t length = strcspn(argument, "=");
    for (int i = 0; i < table->count; ++i) {
        const char* name = table->options[i].name;
        if (strlen(name) == length && strncmp(name, argument, length) == 0)
            return &table->options[i];
    }
    bench_die(EXIT_USAGE, "unknown option %s (see --help)", argument);
}

static void store(void* values, const Option* option, const char* value)
{
    char* field = (char*)values + option->offset;
    if (option->type == OPTION_TEXT)
        memcpy(field, &value, sizeof(value));
    else
        *(int*)(void*)field = option->type == OPTION_FLAG ? 1 : parse_number(option, value);
}

void option_table_parse(const OptionTable* table, int count, char** arguments, void* values)
{
    for (int i = 1; i < count; ++i) {
        if (strcmp(arguments[i], "--help") == 0) {
            print_help(table);
            exit(EXIT_SUCCESS);
        }
        const Option* option = find(table, arguments[i]);
        const char* value = strchr(arguments[i], '=');
        if (option->type == OPTION_FLAG && value != NULL)
            bench_die(EXIT_USAGE, "%s takes no value", option->name);
        if (option->type != OPTION_FLAG) {
            value = value != NULL ? value + 1 : ++i < count ? arguments[i] : NULL;
            if (value == NULL)
                bench_die(EXIT_USAGE, "%s needs a value", option->name);
        }
        store(values, option, value);
    }
}
