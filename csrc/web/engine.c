/* What JavaScript needs to know about the C code, besides its functions. Built by `python build.py web`. */
#include "sertool.h"

/* Return the bytes of a ser_segmenter, for which JavaScript provides the memory. */
size_t ser_segmenter_size(void) { return sizeof(ser_segmenter); }
