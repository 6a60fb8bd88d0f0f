/** Imported first: what is imported after it runs on this engine only. */
process.env['PEFT_LAB_TEST_ENGINES'] = 'graph-webgpu';
