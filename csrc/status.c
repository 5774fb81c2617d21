/* Statuses in English. */
#include "sertool.h"

const char *ser_status_text(ser_status status) {
    switch (status) {
    case SER_OK: return "done";
    case SER_E_ARGUMENT: return "invalid argument";
    case SER_E_SHORT: return "too few samples";
    case SER_E_VALUE: return "NaN, infinity or a value out of range";
    case SER_E_SPACE: return "output too small";
    case SER_E_WEIGHTS: return "weights are damaged or not for this network";
    case SER_E_LENGTH: return "number of samples differs from earlier calls";
    }
    return "unknown status";
}
