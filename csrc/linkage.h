/* Linkage of functions that other files call: external, unless all files are one (exporter `c`: static). */
#ifndef SER_LINKAGE
#define SER_LINKAGE
#endif
