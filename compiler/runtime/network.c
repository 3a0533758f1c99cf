/* Looks into the tables of mnv3c_network, whatever engine runs it. */
#include "engine.h"

const Port* mnv3c_engine_output(int index)
{
    return index >= 0 && index < mnv3c_network.output_count ? &mnv3c_network.outputs[index] : NULL;
}

const Layer* mnv3c_engine_layer(int index)
{
    return index >= 0 && index < mnv3c_network.layer_count ? &mnv3c_network.layers[index] : NULL;
}
