#include <stdio.h>

#include "bench_report.h"
#include "engine.h"
#include "report_parts.h"

static void print_check_json(const Deviation* deviations, double worst, int passed)
{
    printf("{");
    report_json_text("name", mnv3c_network.name);
    printf("\"outputs\": [");
    for (int i = 0; i < mnv3c_network.output_count; ++i) {
        printf(i == 0 ? "{" : ", {");
        report_json_text("name", mnv3c_network.outputs[i].name);
        report_json_number("max_abs_error", deviations[i].max_abs_error);
        printf(", ");
        report_json_number("max_abs_reference", deviations[i].max_abs_reference);
        printf(", ");
        report_json_number("relative_error", deviations[i].relative_error);
        printf("}");
    }
    printf("], ");
    report_json_number("relative_error", worst);
    printf(", \"tolerance\": %.9g, \"passed\": %s}\n", mnv3c_check_tolerance, passed ? "true" : "false");
}

void report_check(const Options* options, const Deviation* deviations, double worst, int passed)
{
    if (options->json) {
        print_check_json(deviations, worst, passed);
        return;
    }
    for (int i = 0; i < mnv3c_network.output_count; ++i)
        printf("%s: max_abs_error %.3g / max_abs_reference %.3g = %.3g\n", mnv3c_network.outputs[i].name,
               deviations[i].max_abs_error, deviations[i].max_abs_reference, deviations[i].relative_error);
    printf("%s: relative error %.3g, tolerance %.3g\n", passed ? "passed" : "FAILED", worst, mnv3c_check_tolerance);
}
