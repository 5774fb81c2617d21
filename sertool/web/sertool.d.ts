/** sertool in the browser. Samples are a Float32Array, mono, at 16 kHz, full scale 1; times are seconds. */

/** A row of labels. Outputs are null where there is an error; the names of the outputs are the model's. */
export interface Labels {
    start: number;
    end: number;
    /** The most probable class, of a model of classes. */
    emotion?: string | null;
    /** Calibrated probability that `emotion` is right. */
    confidence?: number | null;
    /** Below 0.5: unlike the speech that the model was trained on. */
    typical?: number | null;
    /** Seconds of speech; null without the detector. */
    speech: number | null;
    /** Why there are no labels; null if there are. */
    error: string | null;
    /** The outputs, and NAME.low and NAME.high of their intervals. */
    [output: string]: number | string | null | undefined;
}

export interface WindowOptions {
    /** Seconds of a window; by default the model's, 8. */
    window?: number;
    /** Seconds between the starts of windows; by default the window. */
    hop?: number;
    /** Whether to skip what is not speech; by default true. */
    vad?: boolean;
}

export interface StreamOptions {
    /** 1 to 30, by default 4. */
    window?: number;
    /** 0.1 to the window, by default 0.5. */
    hop?: number;
    vad?: boolean;
}

export interface Stream {
    /** Take samples; return the rows that became due, one every hop from the first second on. */
    push(samples: Float32Array): Labels[];
}

export interface About {
    readonly name: string;
    readonly version: string;
    readonly outputs: string[];
    readonly columns: string[];
    /** Seconds of a window. */
    readonly window: number;
    /** The bundle.json of the model. */
    readonly manifest: any;
}

export interface Model extends About {
    /** Label a recording as a whole, as `sertool label` does. Throws nothing about the audio: see `error`. */
    label(samples: Float32Array, options?: WindowOptions): Labels;
    /** Label a window every hop, as `sertool label --windows`. Throws AudioError for NaN. */
    windows(samples: Float32Array, options?: WindowOptions): Labels[];
    /** Label the windows of speech that `label` averages. Throws AudioError if there is no speech. */
    speechWindows(samples: Float32Array, options?: WindowOptions): Labels[];
    /** Find speech, as `sertool vad`: [start, end] in seconds. */
    speech(samples: Float32Array): [number, number][];
    /** Label audio that is still coming. */
    stream(options?: StreamOptions): Stream;
    /** Run the network alone. Throws AudioError if the audio is too short. */
    run(samples: Float32Array): { outputs: Float32Array; embedding: Float32Array };
}

/** A model in a worker: the methods of Model and Stream as promises. */
export interface WorkerModel extends About {
    label(samples: Float32Array, options?: WindowOptions): Promise<Labels>;
    windows(samples: Float32Array, options?: WindowOptions): Promise<Labels[]>;
    speechWindows(samples: Float32Array, options?: WindowOptions): Promise<Labels[]>;
    speech(samples: Float32Array): Promise<[number, number][]>;
    /** Begin a stream; `push` then labels it. */
    listen(options?: StreamOptions): Promise<void>;
    push(samples: Float32Array): Promise<Labels[]>;
    /** End the worker. */
    close(): void;
}

/** The audio cannot be read or labelled. */
export class AudioError extends Error {}

/** Load a model from the bytes of its .wasm file. Rejects if there is no model in it. */
export function load(source: BufferSource | WebAssembly.Module): Promise<Model>;
/** Load it in a worker, so that the page stays responsive. */
export function worker(source: BufferSource | WebAssembly.Module): Promise<WorkerModel>;
/** Read a File, Blob or ArrayBuffer in any format that the browser can play. Rejects with AudioError. */
export function decode(source: Blob | ArrayBuffer): Promise<Float32Array>;
/** Listen to the microphone; `take` gets samples as they come. Rejects if the user or the browser refuses. */
export function microphone(take: (samples: Float32Array) => void): Promise<{ stop(): Promise<void> }>;

/** The rate of all samples in Hz. */
export const RATE: 16000;

export as namespace sertool;
