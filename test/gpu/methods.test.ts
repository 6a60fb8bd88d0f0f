/** The contract of every method, on a GPU. */
import './only-webgpu';
import '../contract/methods.test';
