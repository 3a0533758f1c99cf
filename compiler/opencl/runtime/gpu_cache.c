#include "gpu_cache.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine.h"
#include "gpu_network.h"

enum { KEY_BYTES = 2048, PATH_BYTES = 1024, MOST_BINARY_BYTES = 1 << 28 };

/* FNV-1a, 64 bits (Fowler, Noll, Vo, 1991). */
static uint64_t fnv1a(const void* data, size_t bytes)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < bytes; ++i)
        hash = (hash ^ ((const unsigned char*)data)[i]) * 0x100000001b3u;
    return hash;
}

/* Everything that a binary depends on. It stands in the file too, so that equal hashes cannot deceive. */
static int key_of(const GpuDevice* device, char* key)
{
    return snprintf(key, KEY_BYTES, "mnv3c-opencl-binary/1\n%s\n%s\n%s\n%s\n%s\n%s\n%s\n%s\n", device->platform,
                    device->platform_version, device->name, device->vendor, device->version, device->driver,
                    mnv3c_gpu.build_options, mnv3c_gpu.source_digest);
}

static int make_folder(char* path, const char* parent, const char* between)
{
    if (parent == NULL || *parent == '\0')
        return 0;
    struct stat status;
    if (*between != '\0') {
        snprintf(path, PATH_BYTES, "%s/%s", parent, between);
        mkdir(path, 0755);
    }
    const int length = snprintf(path, PATH_BYTES, "%s%s%s/mnv3c", parent, *between != '\0' ? "/" : "", between);
    if (length >= PATH_BYTES)
        return 0;
    mkdir(path, 0755);
    return stat(path, &status) == 0 && S_ISDIR(status.st_mode) && access(path, W_OK) == 0;
}

/* Returns whether there is a folder for the cache, and puts its path there. */
static int find_folder(char* path)
{
    const char* wanted = getenv("MNV3C_OPENCL_CACHE");
    if (wanted != NULL)
        return *wanted != '\0' && snprintf(path, PATH_BYTES, "%s", wanted) < PATH_BYTES;
    return make_folder(path, getenv("XDG_CACHE_HOME"), "") || make_folder(path, getenv("HOME"), ".cache") ||
           make_folder(path, "/data/local/tmp", "");
}

static int find_file(const char* key, char* path)
{
    char folder[PATH_BYTES];
    if (!find_folder(folder))
        return 0;
    const int length = snprintf(path, PATH_BYTES, "%s/%s-%016llx.clbin", folder, mnv3c_network.name,
                                (unsigned long long)fnv1a(key, strlen(key)));
    return length < PATH_BYTES;
}

/* The rest of the file after its key: "SIZE HASH\n" and the binary. */
static unsigned char* read_binary(FILE* file, size_t* bytes)
{
    unsigned long long size = 0, hash = 0;
    if (fscanf(file, "%llu %llx", &size, &hash) != 2 || fgetc(file) != '\n' || size == 0 || size > MOST_BINARY_BYTES)
        return NULL;
    unsigned char* binary = malloc((size_t)size);
    if (binary == NULL)
        return NULL;
    if (fread(binary, 1, (size_t)size, file) == size && fgetc(file) == EOF && fnv1a(binary, (size_t)size) == hash) {
        *bytes = (size_t)size;
        return binary;
    }
    free(binary);
    return NULL;
}

unsigned char* gpu_cache_read(const GpuDevice* device, size_t* bytes)
{
    char key[KEY_BYTES], seen[KEY_BYTES], path[PATH_BYTES];
    const size_t length = (size_t)key_of(device, key);
    if (length >= KEY_BYTES || !find_file(key, path))
        return NULL;
    FILE* file = fopen(path, "rb");
    if (file == NULL)
        return NULL;
    unsigned char* binary = NULL;
    if (fread(seen, 1, length, file) == length && memcmp(seen, key, length) == 0)
        binary = read_binary(file, bytes);
    fclose(file);
    return binary;
}

void gpu_cache_write(const GpuDevice* device, const unsigned char* binary, size_t bytes)
{
    char key[KEY_BYTES], path[PATH_BYTES], temporary[PATH_BYTES + 32];
    if (key_of(device, key) >= KEY_BYTES || bytes > MOST_BINARY_BYTES || !find_file(key, path))
        return;
    snprintf(temporary, sizeof(temporary), "%s.%ld.tmp", path, (long)getpid());
    FILE* file = fopen(temporary, "wb");
    if (file == NULL)
        return;
    int written = fprintf(file, "%s%llu %llx\n", key, (unsigned long long)bytes,
                          (unsigned long long)fnv1a(binary, bytes)) > 0;
    written = written && fwrite(binary, 1, bytes, file) == bytes;
    written = fclose(file) == 0 && written;
    if (!written || rename(temporary, path) != 0)
        remove(temporary);
}
