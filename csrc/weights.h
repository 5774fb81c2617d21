/* Reader for files of native weights; the format is described in sertool.h. */
#ifndef SER_WEIGHTS_H
#define SER_WEIGHTS_H

#include "network.h"
#include "sertool.h"

/* Check checksums, names, types, shapes and offsets, and fill in *network with pointers into the file.
 * Returns SER_OK, SER_E_ARGUMENT or SER_E_WEIGHTS. */
ser_status ser_network_open(const void *container, size_t bytes, ser_network *network);

#endif
